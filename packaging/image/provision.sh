#!/bin/bash
# Makes an image of workers of the machine it runs on (Amazon Linux 2023, as root): for Packer's shell provisioner,
# or by hand. Takes what lies in /tmp: observerd.rpm, and jobs.tar.gz if there is one, whose paths begin at /.
# RPM_SHA256 and JOBS_SHA256 are what sha256sum prints for them.
set -euo pipefail

echo "$RPM_SHA256  /tmp/observerd.rpm" | sha256sum --check --strict
dnf install --assumeyes /tmp/observerd.rpm
systemctl enable observerd.service
if [ -e /tmp/jobs.tar.gz ]; then
  echo "$JOBS_SHA256  /tmp/jobs.tar.gz" | sha256sum --check --strict
  tar --extract --file /tmp/jobs.tar.gz --directory / --no-same-owner --no-overwrite-dir
fi

# Better here than at two in the morning.
rpm --verify observerd
systemd-analyze verify --man=no observerd.service
observerd check-config --jobs-only
# Only a worker's user data writes what it needs to start: here it must not take messages.
test "$(systemctl is-active observerd.service)" = inactive

rm -f /tmp/observerd.rpm /tmp/jobs.tar.gz
