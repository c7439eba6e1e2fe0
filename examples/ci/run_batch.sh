#!/bin/sh
# Run a file of jobs and say how it ended: run_batch.sh FILE NAME RESULTS
#
# It can be started again after a timeout, a cancelled run or a lost machine: ids are made of the name and
# the content, so nothing runs twice, and RESULTS is continued where it is kept.
set -u
file=$1 name=$2 results=$3

knouds-worker batch "$file" --model gpt-image-2 --name "$name" --dry-run || exit
knouds-worker batch "$file" --model gpt-image-2 --name "$name" --out "$results" --in-order
code=$?
case $code in
0) echo "all succeeded" ;;
6) echo "some failed: knouds-worker batches show $name" ;;
7) echo "some wait for an operator; start this again afterwards: knouds-worker batches show $name" ;;
*) echo "the batch was not run to its end (exit code $code)" ;;
esac
exit $code
