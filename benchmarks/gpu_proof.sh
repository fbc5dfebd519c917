#!/usr/bin/env bash
# Proof on a card, in under eight minutes and without a network: gpu_proof.py says what is proven, and how to call it.
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/gpu_proof.py" "$@"
