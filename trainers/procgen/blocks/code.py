"""Functions of machine code written down in Python (by llvmlite): whole numbers, arrays, loops, values of LANES pictures."""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm
from llvmlite import ir

FEATURES = llvm.get_host_cpu_features()
WIDE = bool(FEATURES.get("avx512f") and FEATURES.get("avx512bw"))   # 32 registers of 512 bits; else 16 of 256
LANES = 16 if WIDE else 8   # pictures in a block: a register of float32

FLOAT, WORD, BYTE, POINTER = ir.FloatType(), ir.IntType(64), ir.IntType(8), ir.PointerType()
VECTOR, BYTES = ir.VectorType(FLOAT, LANES), ir.VectorType(BYTE, LANES)
ZERO, NO_BYTES = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(BYTES, ir.Undefined)

Values = Sequence[ir.Value]


def usable() -> bool:
    """Whether this processor has the instructions that the kernels are for: x86 since 2013."""
    return bool(FEATURES.get("avx2") and FEATURES.get("fma"))


@dataclass(frozen=True)
class Number:
    """A whole number that is known when the code runs."""

    builder: ir.IRBuilder
    value: ir.Value

    def __add__(self, other: "Number | int") -> "Number":
        return Number(self.builder, self.builder.add(self.value, _word(other)))

    def __sub__(self, other: "Number | int") -> "Number":
        return Number(self.builder, self.builder.sub(self.value, _word(other)))

    def __mul__(self, other: "Number | int") -> "Number":
        return Number(self.builder, self.builder.mul(self.value, _word(other)))

    def __floordiv__(self, other: "Number | int") -> "Number":
        return Number(self.builder, self.builder.udiv(self.value, _word(other)))

    def at_most(self, other: "Number") -> "Number":
        less = self.builder.icmp_unsigned("<", self.value, other.value)
        return Number(self.builder, self.builder.select(less, self.value, other.value))


def _word(number: Number | int) -> ir.Value:
    return number.value if isinstance(number, Number) else WORD(number)


@dataclass(frozen=True)
class Array:
    """Elements one after the other from an address; `array[i, j, k]` is an element's own. All sizes but the first are told."""

    start: ir.Value
    sizes: tuple[Number | int, ...]
    kind: ir.Type

    def __getitem__(self, index: tuple[Number | int, ...]) -> ir.Value:
        first = next(number for number in (*index, *self.sizes) if isinstance(number, Number))
        offset = Number(first.builder, _word(index[0]))
        for size, number in zip(self.sizes, index[1:], strict=True):
            offset = offset * size + number
        return first.builder.gep(self.start, [offset.value], source_etype=self.kind)


class Code:
    """A function under way."""

    def __init__(self, function: ir.Function):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self._fma = ir.Function(function.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32")

    def number(self, value: ir.Value | int) -> Number:
        return Number(self.builder, WORD(value) if isinstance(value, int) else value)

    def block(self, start: ir.Value, height: Number, width: Number, kind: ir.Type = FLOAT) -> Callable[..., ir.Value]:
        """f(channel, line, column): where a pixel is in a block of that size, counted with the border."""
        array = Array(start, (height + 2, width + 2, LANES), kind)
        return lambda channel, line, column: array[channel, line, column, 0]

    def load(self, address: ir.Value, kind: ir.Type = VECTOR) -> ir.Value:
        return self.builder.load(address, align=4 if kind in (VECTOR, FLOAT) else 1, typ=kind)

    def store(self, value: ir.Value, address: ir.Value) -> None:
        self.builder.store(value, address, align=4 if value.type == VECTOR else 1)

    def broadcast(self, address: ir.Value) -> ir.Value:
        """One number for all pictures."""
        alone = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), self.load(address, FLOAT), ir.IntType(32)(0))
        return self.builder.shuffle_vector(alone, ir.Constant(VECTOR, ir.Undefined),
                                           ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    def rectified(self, value: ir.Value) -> ir.Value:
        """What is no number stays so, as torch has it."""
        return self.builder.select(self.builder.fcmp_ordered("<", value, ZERO), ZERO, value)

    def where_positive(self, mask: ir.Value, value: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.fcmp_unordered(">", mask, ZERO), value, ZERO)

    def multiply_add(self, one: ir.Value, other: ir.Value, total: ir.Value) -> ir.Value:
        return self.builder.call(self._fma, [one, other, total])

    def loop(self, counts: Sequence[Number], body: Callable[..., Values | None], carried: Values = ()) -> Values:
        """Nested, the last count innermost, none 0: `body(*numbers, carried)` of a round gives what the next is carried."""
        if not counts:
            return body(carried) or ()
        builder, before = self.builder, self.builder.block
        head, behind = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(head)
        builder.position_at_end(head)
        number, *held = (builder.phi(kind) for kind in (WORD, *(value.type for value in carried)))
        inner = self.loop(counts[1:], lambda *places: body(self.number(number), *places), held)
        following = builder.add(number, WORD(1))
        for phi, first, later in zip((number, *held), (WORD(0), *carried), (following, *inner), strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, counts[0].value), head, behind)
        builder.position_at_end(behind)
        return inner


def compiled(body: Callable[..., None], *, pointers: int, numbers: int) -> Callable[..., None]:
    """A function of so many addresses and then whole numbers, both Python's; other Python threads go on beside it.

    `body(code, *addresses, *numbers)` writes it down.
    """
    module = ir.Module()
    module.triple = llvm.get_default_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * pointers + [WORD] * numbers), "kernel")
    code = Code(function)
    body(code, *function.args[:pointers], *map(code.number, function.args[pointers:]))
    code.builder.ret_void()
    parsed, machine = llvm.parse_assembly(str(module)), _machine()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)
    return kind(engine.get_function_address("kernel"))


_engines: list[llvm.ExecutionEngine] = []   # whose code lives as long as they do


def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = f"{FEATURES.flatten()},-prefer-256-bit"   # by itself LLVM keeps to halves of these processors' registers
    return llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
