"""`python -m sandbox.world seed`: fill an application database and its S3 with the demo world.

Environment: CP_OPS_WORLD_DSN (the tables' owner), AIRFLOW_CONN_CP_S3 (Airflow's connection as JSON) or
AWS_ENDPOINT_URL, SCALE, and the KMS settings CP_OPS_LOCAL_KMS_MASTER_KEY, CP_OPS_DEFAULT_FIRM_KMS_KEY_ID (or
AIRFLOW__CP_OPS__...). Prints, as JSON, what was planted for the jobs to find.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from typing import Any

import psycopg

from sandbox.world import files, seed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    if not options.dsn:
        return _refuse("no database: set CP_OPS_WORLD_DSN or give --dsn")
    s3 = None if options.no_objects else _s3_client()
    if s3 is None and not options.no_objects:
        return _refuse("no S3 endpoint: set AIRFLOW_CONN_CP_S3 or AWS_ENDPOINT_URL, or give --no-objects")
    if options.document_scale is None:
        options.document_scale = seed.default_document_scale(options.scale)
    printed: dict[str, Any] = {}
    with psycopg.connect(options.dsn, autocommit=True) as conn:
        if options.reset:
            seed.empty_tables(conn)
            if s3 is not None:
                files.empty_buckets(s3)
        printed["rows"] = "present before" if seed.is_seeded(conn) else "written"
        if printed["rows"] == "written":
            try:
                manifest = seed.seed_rows(
                    conn,
                    seed=options.seed,
                    scale=options.scale,
                    document_scale=options.document_scale,
                    now=options.now,
                )
            except seed.UnseedableError as error:
                return _refuse(str(error))
            printed |= manifest.as_json()
    if s3 is not None:
        printed["objects_put"] = seed.seed_objects(s3, document_scale=options.document_scale)
    print(json.dumps(printed, indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.world", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "seed", help="fill an empty application database; a full one is left as it is"
    )
    command.add_argument(
        "--seed", type=int, default=seed.DEFAULT_SEED, help="the same seed gives the same rows"
    )
    command.add_argument(
        "--scale", type=_scale, default=os.environ.get("SCALE") or "1", help="multiplies the bulk rows"
    )
    command.add_argument(
        "--document-scale",
        type=_scale,
        help=f"multiplies the bulk documents (default: the scale, at most {seed.MAX_DEFAULT_DOCUMENT_SCALE})",
    )
    command.add_argument(
        "--now", type=_moment, help="ISO time with zone (default: the database's, cut to the hour)"
    )
    command.add_argument(
        "--dsn", default=os.environ.get("CP_OPS_WORLD_DSN"), help="default: CP_OPS_WORLD_DSN"
    )
    command.add_argument("--no-objects", action="store_true", help="write rows only")
    command.add_argument("--reset", action="store_true", help="delete every row and the demo's buckets first")
    return parser


def _scale(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: a scale is at least 1")
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text}: give the time zone, for example {text}+00:00")
    return moment


def _s3_client() -> Any:
    """Return a client of the configured endpoint; None without one, as nothing here may reach AWS itself."""
    import boto3
    from botocore.config import Config

    settings: dict[str, Any] = {}
    if connection := os.environ.get("AIRFLOW_CONN_CP_S3"):
        fields = json.loads(connection)
        extra = fields.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        settings = {
            "endpoint_url": extra.get("endpoint_url"),
            "region_name": extra.get("region_name"),
            "aws_access_key_id": fields.get("login"),
            "aws_secret_access_key": fields.get("password"),
        }
    endpoint = settings.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return None
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=files.UPLOAD_THREADS)
    return boto3.client("s3", **settings | {"endpoint_url": endpoint}, config=config)


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
