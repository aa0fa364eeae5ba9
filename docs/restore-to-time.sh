#!/usr/bin/env bash
# Prepares a data folder that PostgreSQL, when it is started on it, recovers to a moment: from a base backup made by
# `pg_basebackup -D <base>` and the log archived since by `archive_command`.
#
#   docs/restore-to-time.sh <base> <archive> '2026-01-31 12:00:00+00' <new data folder>
#
# The folder must be the server's user's. The server then replays the log to that moment and goes on as a new time line.
# A moment after the last archived segment is an error of the server's log, not a silent loss.
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 64; }
base=$1 archive=$2 moment=$3 data=$4
[ ! -e "$data" ] || { echo "$data is there already" >&2; exit 65; }
cp -a "$base" "$data"
chmod 700 "$data"
rm -rf "${data:?}"/pg_wal/* "$data"/postmaster.pid
touch "$data/recovery.signal"
cat >>"$data/postgresql.auto.conf" <<END
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_time = '$moment'
recovery_target_action = 'promote'
END
