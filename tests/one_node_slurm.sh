#!/usr/bin/env bash
# A Slurm of one node, this machine, for tests/test_slurm.py; as root, with Debian's slurm-wlm and munge.
#   bash tests/one_node_slurm.sh start FOLDER   writes its files there and prints the line that names it to the tests
#   bash tests/one_node_slurm.sh stop FOLDER
set -euo pipefail

say() { echo "error: $*" >&2; exit 2; }

[ $# = 2 ] || say "bash tests/one_node_slurm.sh start|stop FOLDER"
[ "$(id -u)" = 0 ] || say "slurmd runs jobs as their users, so it needs root"
for program in munged slurmctld slurmd sbatch; do
  command -v "$program" > /dev/null || say "there is no $program; apt-get install slurm-wlm munge"
done
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf

stop() {
  for name in slurmd slurmctld munged; do
    if [ -f "$folder/$name.pid" ]; then
      kill "$(cat "$folder/$name.pid")" 2> /dev/null || true
    fi
  done
}

if [ "$1" = stop ]; then
  stop
  exit 0
fi

mkdir -p "$folder/state" "$folder/spool"
cat > "$SLURM_CONF" << END
ClusterName=samwise_test
SlurmctldHost=$(hostname)
SlurmUser=root
SlurmctldPort=${SLURM_TEST_PORT:-26817}
SlurmdPort=$((${SLURM_TEST_PORT:-26817} + 1))
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# More CPUs than there may be: the tests' processes are small.
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
NodeName=$(hostname) CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
[ -f "$folder/munge.key" ] || dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 2> /dev/null
chmod 400 "$folder/munge.key"
# munged wants nobody else to be able to write to its folders; --force takes /tmp all the same.
munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld
slurmd
for _ in $(seq 60); do
  if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; then
    echo "export SLURM_CONF=$SLURM_CONF"
    exit 0
  fi
  sleep 1
done
stop
say "the node isn't ready after a minute; see $folder/slurmctld.log and $folder/slurmd.log"
