"""A small Lisp: lexical scope, closures, recursion, quoting."""

import operator

PROGRAM = """
(define (fold f start list) (if (null? list) start (fold f (f start (car list)) (cdr list))))
(define (range a b) (if (= a b) (quote ()) (cons a (range (+ a 1) b))))
(define (map f list) (if (null? list) list (cons (f (car list)) (map f (cdr list)))))
(define (compose f g) (lambda (x) (f (g x))))
(fold + 0 (range 1 101))
(map (compose (lambda (x) (* x x)) (lambda (x) (+ x 1))) (range 0 6))
(define (counter) (let ((n 0)) (lambda () (set! n (+ n 1)))))
(define tick (counter))
(tick) (tick)
(fold + (tick) (quote (10 20)))
(define (ackermann m n)
  (if (= m 0) (+ n 1) (if (= n 0) (ackermann (- m 1) 1) (ackermann (- m 1) (ackermann m (- n 1))))))
(ackermann 2 5)
(quote (a (b c) 1))
"""


def read(tokens):
    token = tokens.pop(0)
    if token != "(":
        return int(token) if token.lstrip("-").isdigit() else token
    items = []
    while tokens[0] != ")":
        items.append(read(tokens))
    tokens.pop(0)
    return items


class Scope(dict):
    def __init__(self, names=(), values=(), outer=None):
        super().__init__(zip(names, values, strict=False))
        self.outer = outer

    def holder(self, name):
        if name in self:
            return self
        if self.outer is None:
            raise NameError(name)
        return self.outer.holder(name)


def evaluate(x, scope):
    if isinstance(x, str):
        return scope.holder(x)[x]
    if not isinstance(x, list):
        return x
    head = x[0]
    if head == "quote":
        return x[1]
    if head == "if":
        return evaluate(x[2] if evaluate(x[1], scope) else x[3], scope)
    if head == "define" and isinstance(x[1], list):
        scope[x[1][0]] = evaluate(["lambda", x[1][1:], x[2]], scope)
        return None
    if head == "define":
        scope[x[1]] = evaluate(x[2], scope)
        return None
    if head == "set!":
        scope.holder(x[1])[x[1]] = value = evaluate(x[2], scope)
        return value
    if head == "let":
        names, values = zip(*x[1], strict=False)
        return evaluate(x[2], Scope(names, [evaluate(value, scope) for value in values], scope))
    if head == "lambda":
        return lambda *values: evaluate(x[2], Scope(x[1], values, scope))
    function, *values = [evaluate(item, scope) for item in x]
    return function(*values)


def show(value):
    return "(" + " ".join(map(show, value)) + ")" if isinstance(value, list) else str(value)


world = Scope(
    ["+", "-", "*", "=", "car", "cdr", "cons", "null?"],
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.eq,
        lambda x: x[0],
        lambda x: x[1:],
        lambda a, b: [a, *b],
        lambda x: x == [],
    ],
)
tokens = PROGRAM.replace("(", " ( ").replace(")", " ) ").split()
while tokens:
    result = evaluate(read(tokens), world)
    if result is not None:
        print(show(result))
