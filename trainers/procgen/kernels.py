"""Convolutions and poolings of some pictures at once, as machine code made on the spot (llvmlite): for the CPU, where channels are few.

torch's convolutions fill the processor's registers with channels, of which a narrow network has not enough. Here a register
holds the same pixel of LANES pictures, whatever the number of channels:

    block: (channels, 2 + height, 2 + width, LANES) float32, contiguous, with a border of a pixel around each picture

Every function here takes addresses of such blocks, reads borders and leaves them alone: a convolution's input has zeros there, a
pooling's input minus infinity. `width` is a multiple of TILE. Nothing is allocated, and sums have one fixed order.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import llvmlite.binding as llvm
from llvmlite import ir

FEATURES = llvm.get_host_cpu_features()
WIDE = bool(FEATURES.get("avx512f") and FEATURES.get("avx512bw"))   # 32 registers of 512 bits; else 16 of 256

LANES = 16 if WIDE else 8   # pictures in a block: a register of float32
OUTPUTS = 4                 # channels at a time, with
TILE = 4 if WIDE else 2     # pixels of a row each: half the registers hold sums
TAPS = [(row, column) for row in range(3) for column in range(3)]

FLOAT, WORD, BYTE, POINTER = ir.FloatType(), ir.IntType(64), ir.IntType(8), ir.PointerType()
VECTOR, BYTES = ir.VectorType(FLOAT, LANES), ir.VectorType(BYTE, LANES)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)

Values = Sequence[ir.Value]


def usable() -> bool:
    """Whether this processor has the instructions that the kernels are for: x86 since 2013."""
    return bool(FEATURES.get("avx2") and FEATURES.get("fma"))


@cache
def unpacking(channels: int):
    """f(pictures, out, count, height, width): block of the first `count` pictures (count, height, width, channels), bytes; of the
    last again where they are fewer than LANES."""
    def body(at: "Code", pictures, out, count, height, width):
        row, plane = at.strides(height, width)
        size, last = at.times(at.times(height, width), channels), at.builder.sub(count, WORD(1))
        starts = []
        for lane in range(LANES):
            there = at.builder.icmp_unsigned("<", WORD(lane), count)
            starts.append(at.address(pictures, at.times(at.builder.select(there, WORD(lane), last), size), BYTE))

        def pixel(place: Values, _: Values) -> Values:
            line, column = place
            first = at.times(at.sum(at.times(line, width), column), channels)
            for channel in range(channels):
                value = ir.Constant(BYTES, ir.Undefined)
                for lane, start in enumerate(starts):
                    seen = at.builder.load(at.address(start, at.sum(first, channel), BYTE), align=1, typ=BYTE)
                    value = at.builder.insert_element(value, seen, ir.IntType(32)(lane))
                at.store(at.builder.uitofp(value, VECTOR), out, at.inside(WORD(channel), line, column, row, plane))
            return []

        at.loop([height, width], pixel)

    return _compiled(body, pointers=2, numbers=3)


@cache
def convolution(outputs: int, *, rectified: bool = False, rectify: bool = False, masked: bool = False, added: bool = False):
    """f(x, kernel, bias, mask, addend, out, inputs, tiles, height, width), outputs x tiles channels of

        out = [mask > 0] (bias + kernel * x) + addend

    with zeros for what is negative in x (rectified) or in the sum (rectify); mask and addend where asked for.
    `kernel`: (tiles, inputs, 9, outputs), the taps row by row.
    """
    def body(at: "Code", x, kernel, bias, mask, addend, out, inputs, tiles, height, width):
        row, plane = at.strides(height, width)

        def tile(place: Values, _: Values) -> Values:
            line, block, column = place
            corner = at.sum(at.times(line, row), at.times(column, TILE * LANES))
            sums = [at.broadcast(bias, at.sum(at.times(block, outputs), k)) for k in range(outputs) for _ in range(TILE)]

            def channel(place: Values, sums: Values) -> Values:
                sums = list(sums)
                above = at.sum(corner, at.times(place[0], plane))
                weights = at.times(at.sum(at.times(block, inputs), place[0]), 9 * outputs)
                for dy in range(3):
                    start = at.sum(above, at.times(row, dy))
                    seen = [at.load(x, at.sum(start, k * LANES), rectified) for k in range(TILE + 2)]
                    for dx, k in product(range(3), range(outputs)):
                        weight = at.broadcast(kernel, at.sum(weights, (3 * dy + dx) * outputs + k))
                        for j in range(TILE):
                            sums[k * TILE + j] = at.multiply_add(seen[j + dx], weight, sums[k * TILE + j])
                return sums

            sums = at.loop([inputs], channel, sums)
            for (k, j), value in zip(product(range(outputs), range(TILE)), sums):
                channels = at.times(at.sum(at.times(block, outputs), k), plane)
                here = at.sum(at.sum(corner, channels), at.sum(row, (j + 1) * LANES))
                if rectify:
                    value = at.rectified(value)
                if masked:
                    value = at.builder.select(at.builder.fcmp_unordered(">", at.load(mask, here), ZERO), value, ZERO)
                if added:
                    value = at.builder.fadd(value, at.load(addend, here))
                at.store(value, out, here)
            return []

        at.loop([height, tiles, at.builder.udiv(width, WORD(TILE))], tile)

    return _compiled(body, pointers=6, numbers=4)


@cache
def gradient(outputs: int, *, rectified: bool = False):
    """f(x, slope, kernel, bias, inputs, tiles, height, width): adds to kernel (outputs x tiles, inputs, 9, LANES) and to bias
    (outputs x tiles, LANES) what a loss's slope by a convolution's outputs says of them, each picture's for itself."""
    def body(at: "Code", x, slope, kernel, bias, inputs, tiles, height, width):
        row, plane = at.strides(height, width)
        steps = at.builder.udiv(width, WORD(TILE))

        def line(place: Values, _: Values) -> Values:
            block, number = place
            first = at.times(block, outputs)
            inside = at.sum(at.sum(at.times(first, plane), at.times(number, row)), at.sum(row, LANES))
            slopes = [at.sum(inside, at.times(plane, k)) for k in range(outputs)]

            def total(place: Values, sums: Values) -> Values:
                at_pixel = at.times(place[0], LANES)
                return [at.builder.fadd(value, at.load(slope, at.sum(own, at_pixel))) for value, own in zip(sums, slopes)]

            biases = [at.times(at.sum(first, k), LANES) for k in range(outputs)]
            for place_, value in zip(biases, at.loop([width], total, [at.load(bias, place_) for place_ in biases])):
                at.store(value, bias, place_)

            def channel(place: Values, _: Values) -> Values:
                own, dy = place
                start = at.sum(at.times(own, plane), at.times(at.sum(number, dy), row))
                weights = [at.times(at.sum(at.times(at.sum(at.times(at.sum(first, k), inputs), own), 9),
                                           at.sum(at.times(dy, 3), dx)), LANES) for dx, k in product(range(3), range(outputs))]

                def tile(place: Values, sums: Values) -> Values:
                    sums, along = list(sums), at.times(place[0], TILE * LANES)
                    seen = [at.load(x, at.sum(at.sum(start, along), k * LANES), rectified) for k in range(TILE + 2)]
                    for j, k in product(range(TILE), range(outputs)):
                        pull = at.load(slope, at.sum(at.sum(slopes[k], along), j * LANES))
                        for dx in range(3):
                            sums[dx * outputs + k] = at.multiply_add(seen[j + dx], pull, sums[dx * outputs + k])
                    return sums

                for place_, value in zip(weights, at.loop([steps], tile, [at.load(kernel, place_) for place_ in weights])):
                    at.store(value, kernel, place_)
                return []

            at.loop([inputs, WORD(3)], channel)
            return []

        at.loop([tiles, height], line)

    return _compiled(body, pointers=4, numbers=4)


@cache
def pooling():
    """f(x, out, taken, channels, height, width): out, of that height and width, the maxima of 3 x 3 pixels of x around every
    second; `taken`, a block of bytes, the tap that each came from, the first of equals."""
    def body(at: "Code", x, out, taken, channels, height, width):
        row, plane = at.strides(height, width)
        wide, large = at.strides(at.times(height, 2), at.times(width, 2))

        def pixel(place: Values, _: Values) -> Values:
            channel, line, column = place
            corner = at.sum(at.times(channel, large), at.sum(at.times(line, at.times(wide, 2)), at.times(column, 2 * LANES)))
            best, tap = None, ir.Constant(BYTES, [0] * LANES)
            for number, (dy, dx) in enumerate(TAPS):
                seen = at.load(x, at.sum(corner, at.sum(at.times(wide, dy), dx * LANES)))
                if best is None:
                    best = seen
                else:
                    more = at.builder.fcmp_unordered(">", seen, best)
                    best = at.builder.select(more, seen, best)
                    tap = at.builder.select(more, ir.Constant(BYTES, [number] * LANES), tap)
            here = at.inside(channel, line, column, row, plane)
            at.store(best, out, here)
            at.store(tap, taken, here, BYTE)
            return []

        at.loop([channels, height, width], pixel)

    return _compiled(body, pointers=3, numbers=3)


@cache
def unpooling():
    """f(slope, taken, out, channels, height, width): what comes of a slope by a pooling's maxima, which are of that height and
    width, for the pooling's input. Reads the border of `slope`: zeros."""
    def body(at: "Code", slope, taken, out, channels, height, width):
        row, plane = at.strides(height, width)
        wide, large = at.strides(at.times(height, 2), at.times(width, 2))

        def square(place: Values, _: Values) -> Values:
            channel, line, column = place
            here = at.inside(channel, line, column, row, plane)
            around = {}
            for dy, dx in product(range(2), repeat=2):
                there = at.sum(here, at.sum(at.times(row, dy), dx * LANES))
                around[dy, dx] = at.load(slope, there), at.builder.load(at.address(taken, there, BYTE), align=1, typ=BYTES)
            corner = at.inside(channel, at.times(line, 2), at.times(column, 2), wide, large)
            for dy, dx in product(range(2), repeat=2):
                value = ZERO
                # An even pixel is the middle of its own maximum's square; an odd one ends that square and begins the next.
                for (down, tap_row), (right, tap_column) in product(*([(0, 1)] if not odd else [(0, 2), (1, 0)] for odd in (dy, dx))):
                    pull, tap = around[down, right]
                    mine = at.builder.icmp_unsigned("==", tap, ir.Constant(BYTES, [3 * tap_row + tap_column] * LANES))
                    value = at.builder.fadd(value, at.builder.select(mine, pull, ZERO))
                at.store(value, out, at.sum(corner, at.sum(at.times(wide, dy), dx * LANES)))
            return []

        at.loop([channels, height, width], square)

    return _compiled(body, pointers=3, numbers=3)


class Code:
    """A function under way: offsets are in numbers of elements, values are of LANES pictures."""

    def __init__(self, function: ir.Function):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self._fma = ir.Function(function.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32")

    def sum(self, one: ir.Value, other: ir.Value | int) -> ir.Value:
        return self.builder.add(one, other if isinstance(other, ir.Value) else WORD(other))

    def times(self, one: ir.Value, other: ir.Value | int) -> ir.Value:
        return self.builder.mul(one, other if isinstance(other, ir.Value) else WORD(other))

    def strides(self, height: ir.Value, width: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Of a row and of a channel of a block."""
        row = self.times(self.sum(width, 2), LANES)
        return row, self.times(self.sum(height, 2), row)

    def inside(self, channel: ir.Value, line: ir.Value, column: ir.Value, row: ir.Value, plane: ir.Value) -> ir.Value:
        """Offset of a pixel, counted without the border."""
        return self.sum(self.sum(self.times(channel, plane), self.times(self.sum(line, 1), row)),
                        self.times(self.sum(column, 1), LANES))

    def address(self, start: ir.Value, offset: ir.Value, kind: ir.Type = FLOAT) -> ir.Value:
        return self.builder.gep(start, [offset], source_etype=kind)

    def load(self, start: ir.Value, offset: ir.Value, rectified: bool = False) -> ir.Value:
        value = self.builder.load(self.address(start, offset), align=4, typ=VECTOR)
        return self.rectified(value) if rectified else value

    def store(self, value: ir.Value, start: ir.Value, offset: ir.Value, kind: ir.Type = FLOAT) -> None:
        self.builder.store(value, self.address(start, offset, kind), align=1 if kind is BYTE else 4)

    def broadcast(self, start: ir.Value, offset: ir.Value) -> ir.Value:
        """One number for all pictures."""
        number = self.builder.load(self.address(start, offset), align=4, typ=FLOAT)
        alone = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(alone, ir.Constant(VECTOR, ir.Undefined),
                                           ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    def rectified(self, value: ir.Value) -> ir.Value:
        """What is no number stays so, as torch has it."""
        return self.builder.select(self.builder.fcmp_ordered("<", value, ZERO), ZERO, value)

    def multiply_add(self, one: ir.Value, other: ir.Value, total: ir.Value) -> ir.Value:
        return self.builder.call(self._fma, [one, other, total])

    def loop(self, counts: Values, body: Callable[[Values, Values], Values], carried: Values = ()) -> Values:
        """Nested, the last count innermost, none of them 0: `body(place, carried)` gives what the next round is carried."""
        if not counts:
            return body([], carried)
        builder, before = self.builder, self.builder.block
        head, behind = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(head)
        builder.position_at_end(head)
        number, *held = (builder.phi(kind) for kind in (WORD, *(value.type for value in carried)))
        inner = self.loop(counts[1:], lambda place, values: body([number, *place], values), held)
        following = builder.add(number, WORD(1))
        for phi, first, later in zip((number, *held), (WORD(0), *carried), (following, *inner)):
            phi.add_incoming(first, before)
            phi.add_incoming(later, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, counts[0]), head, behind)
        builder.position_at_end(behind)
        return inner


@cache
def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # By itself LLVM keeps to halves of these processors' registers.
    features = f"{FEATURES.flatten()},-prefer-256-bit"
    return llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)


_engines: list[llvm.ExecutionEngine] = []   # whose code lives as long as they do


def _compiled(body: Callable[..., None], *, pointers: int, numbers: int) -> Callable[..., None]:
    """A function of so many addresses and then numbers, from Python integers; other Python threads go on beside it."""
    module = ir.Module()
    module.triple = llvm.get_default_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * pointers + [WORD] * numbers), "kernel")
    at = Code(function)
    body(at, *function.args)
    at.builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    engine = llvm.create_mcjit_compiler(parsed, _machine())
    engine.finalize_object()
    _engines.append(engine)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)(engine.get_function_address("kernel"))
