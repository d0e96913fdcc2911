#!/usr/bin/env bash
# Fail when a contract changed in a way that breaks those who know protos/baseline.binpb.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Image against image: the two modules of buf.yaml would not match the one of the baseline.
buf build protos --exclude-source-info --output "$scratch/now.binpb"
buf breaking "$scratch/now.binpb" --against protos/baseline.binpb \
  --config '{"version": "v2", "breaking": {"use": ["WIRE_JSON"], "ignore": ["google"]}}'
