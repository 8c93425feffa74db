"""Convolutions and poolings as machine code made on the spot, for few channels on a CPU.

torch's convolutions fill the processor's registers with channels, of which a narrow network has not enough. Here a register
holds the same pixel of LANES pictures, whatever the number of channels:

    block: (channels, 2 + height, 2 + width, LANES) float32, contiguous, with a border of a pixel around each picture

Every function here takes addresses of such blocks and sizes without the border, which it reads and leaves alone: it is zero where
a convolution or `unpooling` reads it, minus infinity where `pooling` does. Nothing is allocated; sums have one fixed order.
"""

from functools import cache
from itertools import product

from llvmlite import ir

from trainers.procgen.blocks.code import BYTE, BYTES, FLOAT, LANES, NO_BYTES, VECTOR, WIDE, ZERO, Array, Code, compiled

OUTPUTS = 4               # channels at a time, with
TILE = 4 if WIDE else 2   # pixels of a row each: half the registers hold sums. A convolution's width is a multiple of it


@cache
def unpacking(colours: int):
    """f(pictures, out, count, height, width): the block of `count` pictures (count, height, width, colours), bytes; of the last
    again where they are fewer than LANES."""
    def body(code: Code, pictures, out, count, height, width):
        pictures, out = Array(pictures, (height, width, colours), BYTE), code.block(out, height, width)
        numbers = [code.number(lane).at_most(count - 1) for lane in range(LANES)]

        def pixel(line, column, _):
            for colour in range(colours):
                seen = NO_BYTES
                for lane, number in enumerate(numbers):
                    one = code.load(pictures[number, line, column, colour], BYTE)
                    seen = code.builder.insert_element(seen, one, ir.IntType(32)(lane))
                code.store(code.builder.uitofp(seen, VECTOR), out(colour, line + 1, column + 1))

        code.loop([height, width], pixel)

    return compiled(body, pointers=2, numbers=3)


@cache
def convolution(outputs: int, *, rectified: bool = False, rectify: bool = False, masked: bool = False, added: bool = False):
    """f(x, kernel, bias, mask, addend, out, inputs, tiles, height, width): of tiles x outputs channels,

        out = [mask > 0] (bias + kernel * x) + addend

    with zeros for what is negative in x (rectified) or in the sum (rectify); mask and addend where asked for.
    kernel: (tiles, inputs, 9, outputs), bias: (tiles, outputs). `out` may be `addend`.
    """
    def body(code: Code, x, kernel, bias, mask, addend, out, inputs, tiles, height, width):
        x, mask, addend, out = (code.block(start, height, width) for start in (x, mask, addend, out))
        kernel, bias = Array(kernel, (inputs, 9, outputs), FLOAT), Array(bias, (outputs,), FLOAT)

        def pixels(line, tile, step, _):
            column = step * TILE

            def channel(own, sums):
                sums = list(sums)
                for dy in range(3):
                    seen = [code.load(x(own, line + dy, column + j)) for j in range(TILE + 2)]
                    seen = [code.rectified(value) for value in seen] if rectified else seen
                    for dx, k in product(range(3), range(outputs)):
                        weight = code.broadcast(kernel[tile, own, 3 * dy + dx, k])
                        for j in range(TILE):
                            sums[k * TILE + j] = code.multiply_add(seen[j + dx], weight, sums[k * TILE + j])
                return sums

            first = [code.broadcast(bias[tile, k]) for k in range(outputs) for _ in range(TILE)]
            for (k, j), value in zip(product(range(outputs), range(TILE)), code.loop([inputs], channel, first)):
                place = tile * outputs + k, line + 1, column + (1 + j)
                value = code.rectified(value) if rectify else value
                value = code.where_positive(code.load(mask(*place)), value) if masked else value
                value = code.builder.fadd(value, code.load(addend(*place))) if added else value
                code.store(value, out(*place))

        code.loop([height, tiles, width // TILE], pixels)

    return compiled(body, pointers=6, numbers=4)


@cache
def weight_gradient(outputs: int, *, rectified: bool = False):
    """f(x, gradient, kernel, bias, inputs, tiles, height, width): adds a loss's gradients by a convolution's weights to kernel
    (tiles x outputs, inputs, 9, LANES) and bias (tiles x outputs, LANES), each picture's apart; `gradient`: by its outputs."""
    def body(code: Code, x, gradient, kernel, bias, inputs, tiles, height, width):
        x, gradient = (code.block(start, height, width) for start in (x, gradient))
        kernel, bias = Array(kernel, (inputs, 9, LANES), FLOAT), Array(bias, (LANES,), FLOAT)

        def added_up(addresses, counts, step):
            sums = code.loop(counts, step, [code.load(address) for address in addresses])
            for address, value in zip(addresses, sums):
                code.store(value, address)

        def row(tile, line, _):
            def gradients(column):
                return [code.load(gradient(tile * outputs + k, line + 1, column + 1)) for k in range(outputs)]

            def pixel(column, sums):
                return [code.builder.fadd(value, pull) for value, pull in zip(sums, gradients(column))]

            def channel(own, dy, _):
                def pixels(step, sums):
                    sums, column = list(sums), step * TILE
                    seen = [code.load(x(own, line + dy, column + j)) for j in range(TILE + 2)]
                    seen = [code.rectified(value) for value in seen] if rectified else seen
                    for j in range(TILE):
                        for k, pull in enumerate(gradients(column + j)):
                            for dx in range(3):
                                sums[dx * outputs + k] = code.multiply_add(seen[j + dx], pull, sums[dx * outputs + k])
                    return sums

                added_up([kernel[tile * outputs + k, own, dy * 3 + dx, 0] for dx, k in product(range(3), range(outputs))],
                         [width // TILE], pixels)

            added_up([bias[tile * outputs + k, 0] for k in range(outputs)], [width], pixel)
            code.loop([inputs, code.number(3)], channel)

        code.loop([tiles, height], row)

    return compiled(body, pointers=4, numbers=4)


@cache
def pooling():
    """f(x, out, taken, channels, height, width): out, of that height and width, the maxima of 3 x 3 pixels of x around every
    second; `taken`, a block of bytes, the tap that each came from, the first of equals."""
    def body(code: Code, x, out, taken, channels, height, width):
        x, out = code.block(x, height * 2, width * 2), code.block(out, height, width)
        taken = code.block(taken, height, width, BYTE)

        def pixel(channel, line, column, _):
            best, taps = None, _bytes(0)
            for tap, (dy, dx) in enumerate(product(range(3), repeat=2)):
                seen = code.load(x(channel, line * 2 + dy, column * 2 + dx))
                more = code.builder.fcmp_unordered(">", seen, best or seen)   # what is no number stays, as torch has it
                best, taps = code.builder.select(more, seen, best or seen), code.builder.select(more, _bytes(tap), taps)
            place = channel, line + 1, column + 1
            code.store(best, out(*place))
            code.store(taps, taken(*place))

        code.loop([channels, height, width], pixel)

    return compiled(body, pointers=3, numbers=3)


@cache
def unpooling():
    """f(gradient, taken, out, channels, height, width): from a loss's gradient by a pooling's maxima, of that height and width,
    that by its input."""
    def body(code: Code, gradient, taken, out, channels, height, width):
        gradient, taken = code.block(gradient, height, width), code.block(taken, height, width, BYTE)
        out = code.block(out, height * 2, width * 2)
        # (maximum, tap) in one direction: an even pixel is the middle of its square; an odd one ends that and begins the next.
        seen_by = {0: [(0, 1)], 1: [(0, 2), (1, 0)]}

        def square(channel, line, column, _):
            around = {}
            for down, right in product(range(2), repeat=2):
                place = channel, line + (1 + down), column + (1 + right)
                around[down, right] = code.load(gradient(*place)), code.load(taken(*place), BYTES)
            for dy, dx in product(range(2), repeat=2):
                value = ZERO
                for (down, row), (right, tap) in product(seen_by[dy], seen_by[dx]):
                    pull, taps = around[down, right]
                    mine = code.builder.icmp_unsigned("==", taps, _bytes(3 * row + tap))
                    value = code.builder.fadd(value, code.builder.select(mine, pull, ZERO))
                code.store(value, out(channel, line * 2 + (1 + dy), column * 2 + (1 + dx)))

        code.loop([channels, height, width], square)

    return compiled(body, pointers=3, numbers=3)


def _bytes(number: int) -> ir.Constant:
    return ir.Constant(BYTES, [number] * LANES)
