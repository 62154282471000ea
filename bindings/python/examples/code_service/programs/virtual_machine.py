"""An assembler and a stack machine, with a few programs to run on it."""

PROGRAMS = {
    "factorial of 20": """
        push 20  store n  push 1  store acc
        label loop  load n  jumpz done  load acc  load n  mul  store acc  load n  push 1  sub  store n  jump loop
        label done  load acc  print""",
    "gcd of 1071 and 462": """
        push 1071  store a  push 462  store b
        label loop  load b  jumpz done  load a  load b  mod  load b  store a  store b  jump loop
        label done  load a  print""",
    "collatz steps of 27": """
        push 27  store n  push 0  store steps
        label loop  load n  push 1  sub  jumpz done  load steps  push 1  add  store steps
        load n  push 2  mod  jumpz even  load n  push 3  mul  push 1  add  store n  jump loop
        label even  load n  push 2  div  store n  jump loop
        label done  load steps  print""",
    "stack underflow": "push 1  add",
    "never ends": "label loop  jump loop",
}
WITH_OPERAND = {"push", "load", "store", "jump", "jumpz", "label"}
ARITHMETIC = {"add": int.__add__, "sub": int.__sub__, "mul": int.__mul__, "div": int.__floordiv__, "mod": int.__mod__}


def assemble(source):
    words, code, labels = iter(source.split()), [], {}
    for word in words:
        operand = next(words) if word in WITH_OPERAND else None
        if word == "label":
            labels[operand] = len(code)
        else:
            code.append((word, operand))
    return [(op, labels[arg] if op.startswith("jump") else arg) for op, arg in code]


def run(code, fuel=10_000):
    stack, memory, counter, printed = [], {}, 0, []
    while counter < len(code):
        if not fuel:
            return "out of fuel"
        fuel -= 1
        op, arg = code[counter]
        counter += 1
        try:
            if op == "push":
                stack.append(int(arg))
            elif op == "load":
                stack.append(memory[arg])
            elif op == "store":
                memory[arg] = stack.pop()
            elif op == "jump" or (op == "jumpz" and stack.pop() == 0):
                counter = arg
            elif op in ARITHMETIC:
                right, left = stack.pop(), stack.pop()
                stack.append(ARITHMETIC[op](left, right))
            elif op == "print":
                printed.append(str(stack.pop()))
        except IndexError:
            return f"underflow at {counter - 1}"
    return " ".join(printed)


for name, source in PROGRAMS.items():
    print(f"{name}: {run(assemble(source))}")
