"""The release described in Croissant (mlcommons.org/croissant), for those who find datasets by machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from forgeline.terms import Joined

_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "double": "sc:Float"}
_MEDIA = {"video": "sc:VideoObject", "image": "sc:ImageObject", "audio": "sc:AudioObject"}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(name: str, description: str, terms: Joined, schemas: dict[str, pa.Schema], splits: Sequence[str]) -> str:
    """JSON-LD with a file set and a record set a config; `schemas` are the shards' by config."""
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": terms.licence,
        "usageInfo": f"permitted use: {', '.join(terms.permitted_use) or 'none'}",
        "version": "1.0.0",
        "rai:hasSyntheticData": True,
        "rai:dataCollection": "Made by Forgeline from the sources that the card names; controls went through the same chain.",
        "distribution": [
            {"@type": "cr:FileObject", "@id": "release", "name": "release", "contentUrl": ".", "encodingFormat": "git+https"}
            | {"sha256": "main"},
            *(_files(config, splits) for config in schemas),
        ],
        "recordSet": [_records(config, schema) for config, schema in schemas.items()],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _files(config: str, splits: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "containedIn": {"@id": "release"},
        "encodingFormat": "application/x-parquet",
        "includes": [f"{split}/{config}/*.parquet" for split in splits],
    }


def _records(config: str, schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "field": [_field(config, column) for column in schema if _kind(config, column)],
    }


def _field(config: str, column: pa.Field) -> dict[str, Any]:
    media = pa.types.is_struct(column.type)
    extract: dict[str, Any] = {"column": column.name}
    return {
        "@type": "cr:Field",
        "@id": f"{config}/{column.name}",
        "name": column.name,
        "dataType": _kind(config, column),
        **({"repeated": True} if pa.types.is_list(column.type) else {}),
        "source": {
            "fileSet": {"@id": f"{config}-files"},
            "extract": extract,
            **({"transform": {"jsonPath": "bytes"}} if media else {}),
        },
    }


def _kind(config: str, column: pa.Field) -> str | None:
    """Croissant's name for a column's type; None for a structure that it can't name."""
    if column.name in ("media", "mask"):
        return _MEDIA[Path(config).name.rsplit("_", 1)[-1]]
    plain = column.type.value_type if pa.types.is_list(column.type) else column.type
    return _TYPES.get(str(plain))
