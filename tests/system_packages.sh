#!/usr/bin/env bash
# Installs the Debian packages that tests use, where that is allowed (root and apt); elsewhere those tests are skipped
# with a reason that names the package.
set -u
packages=(dataset-fashion-mnist)
# A cluster of virtual nodes on this machine; without its accounting it would need only the first four.
packages+=(munge slurmctld slurmd slurm-client slurmdbd mariadb-server)
# A tracking store, and a browser that looks at what MLflow shows, and at reports.
packages+=(postgresql chromium)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed, for lack of root or apt: ${missing[*]} (their tests are skipped)" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# Services are for tests to start, not for their installation.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null; then
  echo "apt-get could not install: ${missing[*]} (their tests are skipped)" >&2
fi
