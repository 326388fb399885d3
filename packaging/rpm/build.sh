#!/bin/sh
# Builds the RPM and its source package: build.sh PIP_PYTHON RPM_PYTHON DIRECTORY
# PIP_PYTHON, with pip, fetches the locked wheels; RPM_PYTHON is the interpreter that the package is for.
set -eu
umask 022
cd "$(dirname "$0")/../.."
pip_python=$1 rpm_python=$2 into=$3
version=$(sed -n 's/^Version: *//p' packaging/rpm/observerd.spec)
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
mkdir -p "$top/SOURCES" "$top/wheels" "$into"

# Only what the lock names, checked against its hashes; only wheels, which run nothing when they are unpacked.
"$pip_python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  --only-binary=:all: --requirement requirements/runtime.txt --dest "$top/wheels"

# The same files make the same archives, whoever packs them, when and where.
pack() {
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=u=rwX,go=rX \
    --exclude=__pycache__ "$@"
}
pack --transform "s|^|observerd-$version/|" LICENSE README.md CHANGELOG.md docs monitoring observerd packaging |
  gzip --no-name >"$top/SOURCES/observerd-$version.tar.gz"
(cd "$top/wheels" && pack ./*.whl) >"$top/SOURCES/observerd-wheels-$version.tar"
install -m 0644 packaging/rpm/observerd.spec requirements/runtime.txt "$top/SOURCES/"

# Debian's rpm knows of no installed package, so there BuildRequires could never be met.
nodeps=
[ ! -e /etc/debian_version ] || nodeps=--nodeps
# rpmbuild says on standard output what it does; that matters when it fails.
build() {
  rpmbuild "$@" --define "_topdir $top" --define "observerd_python $rpm_python" >"$top/log" 2>&1 ||
    { cat "$top/log" >&2; exit 1; }
}
# From the source package, as others rebuild it: so theirs has the same bytes.
build -bs "$top/SOURCES/observerd.spec"
build --rebuild $nodeps "$top"/SRPMS/*.rpm
cp "$top"/RPMS/noarch/*.rpm "$top"/SRPMS/*.rpm "$into/"
