"""Tables made to break a reader: damaged bytes, wrong types, absurd values, bombs."""

import datetime
import decimal
import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from worlds.simulated_study import simulated_study

FIELDS = ["", "nan", "NaN", "inf", "-inf", "1e400", "-1", "0", "-0.0", "1e-320", "9" * 400, "abc", "=1+1", "=cmd|' /C calc'!A0",
          "\u202etxt", "数", "🙂", "\0", '"', '""', "\n", "1,5", "1_000", "0x10", "None", "true", "../../etc/passwd",
          "$\\frac{1}$", "<script>alert(1)</script>", "{{ 7*7 }}", "\x1b[31m", "1e21", " 3 ", "+5", "1e", "٣", "2.5M", "1,234", "1.234,5", "1,234,567",
          "1'000", "6e9 FLOPs", "7B tokens", "1 x 10^999", "-2,5 %", "10^10^10", "1e5k", "9" * 300 + "B"]
NAMES = ["N", "D", "C", "L", "loss", "params", "tokens", "flops", "", " ", "n", "val_loss", "a" * 5000, "<b>", "$x", "\x1b[2J",
         "数", "../x", "budget", "seed", "accuracy", "N.D", "\u202e",
         "log10_params", "ln N", "epochs", "unique_tokens", "run", "key", "value", "step", "lr", "a - loss"]


def hostile_bytes(random: np.random.Generator) -> bytes:
    """One hostile file. Most are small; now and then one is a bomb."""
    kinds = [damaged_parquet, damaged_csv, odd_parquet, odd_csv, odd_header, damaged_gzip, noise, odd_roles, json_text, laid_out]
    return kinds[random.choice(len(kinds), p=[0.22, 0.14, 0.15, 0.13, 0.07, 0.04, 0.02, 0.07, 0.08, 0.08])](random)


def small_study(random: np.random.Generator) -> pa.Table:
    return simulated_study(widths=int(random.integers(1, 5)), fractions=int(random.integers(1, 5)), seeds=1,
                           dropouts=(0.0,), rng=int(random.integers(1 << 30)))


def parquet_bytes(table: pa.Table, **options) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def csv_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.csv.write_csv(table, buffer)
    return buffer.getvalue()


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes flipped, cut, doubled, zeroed or overwritten by extreme integers."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        if not data:
            break
        at, length = int(random.integers(len(data))), int(random.integers(1, 64))
        match random.integers(7):
            case 0:
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                del data[at:]
            case 2:
                del data[at:at + length]
            case 3:
                data[at:at] = data[at:at + length]
            case 4:
                data[at:at + length] = bytes(length)
            case 5:
                data[at:at + 8] = random.choice([b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80" * 2, b"\x80" * 8])
            case 6:
                data[at:at + length] = random.bytes(length)
    return bytes(data)


def damaged_parquet(random: np.random.Generator) -> bytes:
    codec = random.choice(["snappy", "gzip", "zstd", "none"])
    return damaged(parquet_bytes(small_study(random), compression=str(codec)), random)


def damaged_csv(random: np.random.Generator) -> bytes:
    return damaged(csv_bytes(small_study(random)), random)


def damaged_gzip(random: np.random.Generator) -> bytes:
    return damaged(gzip.compress(csv_bytes(small_study(random)), 1), random)


def noise(random: np.random.Generator) -> bytes:
    return random.choice([b"", b"PAR1", b"PAR1PAR1", b"\x1f\x8b", b"PK\x03\x04", b"\n\n\n", b"#\n#", b"\xff\xfeN\0", b"N,D,loss",
                          b'"', b"," * 9000, b"N,D,loss\n" + b'"' * 3_000_000]) + random.bytes(int(random.integers(0, 50)))


def odd_csv(random: np.random.Generator) -> bytes:
    """A study whose fields, here and there, are not what they should be."""
    table = small_study(random).select(["params", "samples", "flops", "val_loss", "seed"])
    rows = [list(table.column_names)] + [[repr(v) for v in row.values()] for row in table.to_pylist()]
    for _ in range(int(random.integers(1, 12))):
        row = rows[int(random.integers(1 if random.random() < 0.9 else 0, len(rows)))] if len(rows) > 1 else rows[0]
        match random.integers(6):
            case 0 | 1 | 2:
                row[int(random.integers(len(row)))] = str(random.choice(FIELDS))
            case 3:
                row.append(str(random.choice(FIELDS)))
            case 4 if len(row) > 1:
                row.pop()
            case _:
                row[int(random.integers(len(row)))] = str(10.0 ** random.uniform(-320, 308))
    ends = str(random.choice(["\n", "\r\n", "\r"]))
    return ends.join(str(random.choice([",", ";", "\t"], p=[0.8, 0.1, 0.1])).join(r) for r in rows).encode("utf-8", "surrogatepass")


def odd_header(random: np.random.Generator) -> bytes:
    """Good numbers under names that are missing, doubled, hostile or too many."""
    columns = int(random.choice([1, 2, 3, 4, 6, 12, 6000], p=[0.1, 0.1, 0.3, 0.25, 0.14, 0.1, 0.01]))
    names = [str(random.choice(NAMES)) for _ in range(columns)]
    rows = np.exp(random.normal(5, 2, (12, columns)))
    return "\n".join([",".join(names), *(",".join(map(repr, map(float, row))) for row in rows)]).encode()


def odd_roles(random: np.random.Generator) -> bytes:
    """A study whose columns say of themselves what they are not."""
    table = small_study(random)
    fields = []
    for f in table.schema:
        said = dict(f.metadata or {})
        if random.random() < 0.4:
            said = {str(random.choice(["role", "law", "unit", "meaning", "\u202e"])): str(random.choice(
                ["axis", "choice", "repeat", "measured", "clock", "N", "D", "C", "L", "accuracy", "", "x" * 9000, "<b>"])) for _ in range(3)}
        fields.append(f.with_metadata(said))
    table = pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata={"task": str(random.choice(FIELDS))}))
    at = int(random.integers(len(table.column_names)))
    return parquet_bytes(table.set_column(at, table.schema.field(at), table.column(at)) if random.random() < 0.5
                         else table.set_column(at, table.column_names[at], odd_column(random, len(table))))


def json_text(random: np.random.Generator) -> bytes:
    """Records with odd values and depths, as lines or as a document, whole or damaged."""
    rows = small_study(random).select(["params", "samples", "flops", "val_loss", "seed"]).to_pylist()
    for _ in range(int(random.integers(0, 6))):
        rows[int(random.integers(len(rows)))][str(random.choice(NAMES))] = [
            lambda: str(random.choice(FIELDS)), lambda: [1, [2]], lambda: {"value": {"value": 1}}, lambda: True, lambda: None, lambda: 10**400,
            lambda: float("nan"), lambda: {str(random.choice(NAMES)): rows[0]["params"]}][int(random.integers(8))]()
    document = [lambda: "\n".join(map(json.dumps, rows)), lambda: json.dumps(rows), lambda: json.dumps({"runs": rows}),
                lambda: json.dumps({k: [r.get(k) for r in rows] for k in rows[0]}), lambda: "[" * int(random.integers(1, 99_999)),
                lambda: json.dumps({str(i): r for i, r in enumerate(rows)})][int(random.integers(6))]()
    content = document.encode("utf-8", "surrogatepass")
    return damaged(content, random) if random.random() < 0.5 else content


def laid_out(random: np.random.Generator) -> bytes:
    """A study as Markdown, by spaces, long, or in UTF-16, whole or damaged."""
    frame = small_study(random).select(["params", "samples", "flops", "val_loss", "seed"]).to_pandas()
    text = [lambda: frame.to_string(index=False), lambda: frame.to_csv(index=False, sep="|"),
            lambda: "|".join(frame.columns) + "\n" + "|".join(["---"] * 5) + "\n" + frame.to_csv(index=False, sep="|", header=False),
            lambda: frame.assign(run=range(len(frame))).melt("run", var_name="key").to_csv(index=False),
            lambda: frame.to_csv(index=False, sep=";", decimal=",")][int(random.integers(5))]()
    content = text.encode(str(random.choice(["utf-8", "utf-16", "utf-8-sig", "utf-16-be", "cp037"])))
    return damaged(content, random) if random.random() < 0.5 else content


def odd_column(random: np.random.Generator, n: int) -> pa.Array:
    """n values of a type that has no business in a fit, or of numbers beyond sense."""
    numbers = [float(x) for x in random.choice([1e308, -1.0, 0.0, np.nan, np.inf, 5e-324, 7.0, 1e21], n)]
    return [
        lambda: pa.array([str(random.choice(FIELDS)) for _ in range(n)]),
        lambda: pa.array(numbers),
        lambda: pa.array([[1.0, 2.0]] * n),
        lambda: pa.array([{"x": 1}] * n),
        lambda: pa.array([b"\xff\xfe"] * n),
        lambda: pa.array([datetime.datetime(2024, 1, 1)] * n),
        lambda: pa.array([decimal.Decimal("1.5")] * n),
        lambda: pa.array([True] * n),
        lambda: pa.nulls(n),
        lambda: pa.array([2**64 - 1] * n, pa.uint64()),
        lambda: pa.array(["x" * 100_000] * n).dictionary_encode(),
        lambda: pa.array([datetime.timedelta(days=1)] * n),
        lambda: pa.array([1.5] * n, pa.float16()),
        lambda: pa.array([datetime.date(2024, 1, 1)] * n),
        lambda: pa.array([str(x) for x in numbers], pa.large_string()),
        lambda: pa.array(["7"] * n, pa.string_view()),
        lambda: pa.array([b"7"] * n, pa.binary(1)),
    ][int(random.integers(17))]()


def odd_parquet(random: np.random.Generator) -> bytes:
    """A study with columns of other types; sometimes with a name twice, sometimes without rows."""
    table = small_study(random)
    for _ in range(int(random.integers(1, 4))):
        name = str(random.choice(["params", "samples", "flops", "val_loss", "seed", "val_accuracy", "dropout", "dataset"]))
        at = table.schema.get_field_index(name)
        if at >= 0:
            table = table.set_column(at, name, odd_column(random, len(table)))
    match random.integers(8):
        case 0:
            table = table.slice(0, int(random.integers(0, 4)))
        case 1:
            table = table.append_column("val_loss", odd_column(random, len(table)))
        case 2:
            table = table.select([str(n) for n in random.choice(table.column_names, 6, replace=False)])
        case 3:
            table = table.rename_columns([str(random.choice([*NAMES, n])) for n in table.column_names])
    return parquet_bytes(table)
