#!/bin/sh
# For compose.yml: lets a replica in. The image runs it once, before the primary's first start.
set -eu
echo "host replication all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
