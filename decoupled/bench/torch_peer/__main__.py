"""The command: reads one job, a JSON object, from standard input, trains, and prints the result as another."""

import json
import os
import sys
from typing import Any

import torch
from pydantic import ValidationError

from decoupled.api import load_data
from decoupled.bench.torch_peer.job import Job, check, note
from decoupled.bench.torch_peer.network import in_torch
from decoupled.bench.torch_peer.pipeline import train_pipeline
from decoupled.bench.torch_peer.single import train_single
from decoupled.errors import DecoupledError, UsageError
from decoupled.user_code import allow_all


def perform(job: Job) -> dict[str, Any]:
    """Trains, and gives the result object. Raises UsageError or RunFailed."""
    allow_all(job.run.code)  # which the benchmark was given
    resolved = in_torch(job, load_data(job.run))
    check(job, resolved)
    parts = train_pipeline(job) if job.is_pipeline else [train_single(job, resolved)]
    seconds = max(part.seconds for part in parts)
    return {
        "kind": job.kind,
        "samples_per_s": round(parts[0].samples / seconds, 1),
        "updates": parts[0].updates,
        "seconds": round(seconds, 4),
        "evaluations": parts[0].evaluations,
        "peak_rss_mb": round(max(part.peak_rss_mb for part in parts), 1),
        "threads": job.threads,
        "fused": job.fused,
        "workers": len(parts),
        "microbatches": job.microbatches if job.is_pipeline else 1,
        "torch": torch.__version__,
        "note": note(job, resolved),
    }


def main() -> None:
    """Reads a job, performs it, prints the result; when it cannot, one sentence on standard error."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # gloo prints to standard output, which is the result's alone
    try:
        result = perform(_read())
    except DecoupledError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except Exception as error:
        sys.exit(_fail(f"torch cannot train this: {type(error).__name__}: {error}", 1))
    print(json.dumps(result), file=out, flush=True)


def _read() -> Job:
    try:
        return Job.model_validate_json(sys.stdin.buffer.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"This is no job: {where + ': ' if where else ''}{first['msg']}.") from None


def _fail(sentence: str, code: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
