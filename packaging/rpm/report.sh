#!/bin/sh
# What is in a package, and what takes the room: report.sh FILE.rpm...
set -eu
for rpm; do
  printf '%s  %s bytes, %s installed, for %s\nsha256 %s\n' "$rpm" "$(wc -c <"$rpm")" \
    "$(rpm -qp --qf '%{LONGSIZE}' "$rpm")" "$(rpm -qp --requires "$rpm" | grep ^python)" \
    "$(sha256sum "$rpm" | cut -d' ' -f1)"
  rpm -qp --qf '[%{FILESIZES} %{FILENAMES}\n]' "$rpm" | awk '
    { path = $2; room = "the rest"; split(path, part, "/") }
    path ~ /^\/usr\/lib\/observerd\/vendor\// { room = "vendor/" part[6]; sub(/-[0-9].*/, "", room) }
    path ~ /^\/usr\/lib\/observerd\/observerd/ { room = "observerd itself" }
    path ~ /^\/usr\/share\/(doc|man)\// { room = "documents" }
    path ~ /^\/usr\/share\/licenses\// { room = "licences" }
    path ~ /^\/(etc|usr\/lib\/(systemd|sysusers|tmpfiles))/ { room = "units and configuration" }
    { files[room]++; bytes[room] += $1 }
    END { for (room in bytes) printf "%10d bytes %5d files  %s\n", bytes[room], files[room], room }' | sort -rn
done
