#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes every mutant that slither-mutate's mutators see in the contracts, one JSON object a line.

    generate.py PROJECT FILE...

PROJECT holds a finished `forge build --build-info --ast`. slither-mutate's own loop rebuilds everything with forge for
each mutant, which takes most of a minute here; so only its mutators are used, and script/mutate builds and tests.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

from slither import Slither
from slither.tools.mutator.mutators import all_mutators
from slither.tools.mutator.mutators.abstract_mutator import AbstractMutator


def mutators():
    found = [item for item in vars(all_mutators).values() if isinstance(item, type)]
    return sorted((m for m in found if issubclass(m, AbstractMutator) and m is not AbstractMutator), key=lambda m: m.NAME)


def contracts_of(slither, files):
    for unit in slither.compilation_units:
        for contract in unit.contracts:
            if contract.source_mapping.filename.absolute in files:
                yield unit, contract


def main(project, names):
    logging.disable(logging.CRITICAL)
    root = Path(project).resolve()
    files = {str(root / name): name for name in names}
    slither = Slither(str(root), ignore_compile=True, compile_force_framework="foundry")
    scratch = Path(tempfile.mkdtemp())
    seen = set()
    for unit, contract in contracts_of(slither, files):
        for mutator in mutators():
            instance = mutator(unit, 0, "", "", contract, None, False, scratch, [])
            try:
                patches = instance._mutate().get("patches", {})
            except Exception as error:  # A mutator that gives up on one contract must not cost the others.
                print(f"generate: {mutator.NAME} gave up on {contract.name}: {error}", file=sys.stderr)
                continue
            for path, found in patches.items():
                if path not in files:
                    continue
                source = slither.source_code[path].encode()
                for patch in found:
                    key = (path, patch["start"], patch["end"], patch["new_string"])
                    if key in seen:
                        continue
                    seen.add(key)
                    print(
                        json.dumps(
                            {
                                "file": files[path],
                                "mutator": mutator.NAME,
                                "start": patch["start"],
                                "end": patch["end"],
                                "line": source[: patch["start"]].count(b"\n") + 1,
                                "old": source[patch["start"] : patch["end"]].decode(),
                                "new": patch["new_string"],
                            }
                        )
                    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
