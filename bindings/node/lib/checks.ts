/**
 * Reading arguments. A wrong type is a `TypeError`, a wrong value an `InvalidArgumentError`; both name the argument.
 * Nothing is converted silently, and an option that does not exist is an error. @internal
 */

import { resolve } from "node:path";
import { InvalidArgumentError } from "./errors.js";

/** What the operating system takes as a name: text, or bytes where it is none. */
export type Name = string | Uint8Array;

/** The longest time that is accepted, in milliseconds: far beyond any use, and safe to add to any clock. */
const MAX_MILLIS = 1e12;

/** A `TypeError` that names the argument, what it should be, and what it is. */
export function wrongType(field: string, expected: string, value: unknown): TypeError {
  const error = new TypeError(`${field}: expected ${expected}, got ${typeName(value)}`);
  return Object.assign(error, { code: "ERR_INVALID_ARG_TYPE" });
}

/** An `InvalidArgumentError` that names the argument. */
export function invalid(field: string, message: string): InvalidArgumentError {
  return new InvalidArgumentError(`${field}: ${message}`, { phase: "configure", field });
}

/** An object with no options but these. */
export function options<K extends string>(
  field: string, value: unknown, known: readonly K[],
): Partial<Record<K, unknown>> {
  if (value === undefined) {
    return {};
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrongType(field, "an object", value);
  }
  for (const key of Object.keys(value)) {
    if (!(known as readonly string[]).includes(key)) {
      throw invalid(within(field, key), `there is no such option; there are ${known.join(", ")}`);
    }
  }
  return value as Partial<Record<K, unknown>>;
}

/** The name of an option in an object of this name. */
export function within(field: string, key: string): string {
  return field === "" || field === "options" ? key : `${field}.${key}`;
}

/** Reads an argument that may have been left out. */
export function optional<T>(field: string, value: unknown, read: (field: string, value: unknown) => T): T | undefined {
  return value === undefined ? undefined : read(field, value);
}

/** A whole number from 0 on. */
export function count(field: string, value: unknown): number {
  const number = finite(field, value);
  if (!Number.isSafeInteger(number) || number < 0) {
    throw invalid(field, `${number} is not a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  return number;
}

/** A whole number that fits 32 bits. */
export function count32(field: string, value: unknown): number {
  const number = count(field, value);
  if (number > 0xffff_ffff) {
    throw invalid(field, `${number} is not between 0 and ${0xffff_ffff}`);
  }
  return number;
}

/** A finite number. */
export function finite(field: string, value: unknown): number {
  if (typeof value !== "number") {
    throw wrongType(field, "a number", value);
  }
  if (!Number.isFinite(value)) {
    throw invalid(field, `${value} is not finite`);
  }
  return value;
}

/** A time in milliseconds; zero is allowed here. */
export function millis(field: string, value: unknown): number {
  if (typeof value !== "number") {
    throw wrongType(field, "a number of milliseconds", value);
  }
  if (!(value >= 0 && value <= MAX_MILLIS)) {
    throw invalid(field, `${value} ms is not between 0 and ${MAX_MILLIS}`);
  }
  return value;
}

export function flag(field: string, value: unknown): boolean {
  if (typeof value !== "boolean") {
    throw wrongType(field, "a boolean", value);
  }
  return value;
}

/** Text that can be encoded. */
export function text(field: string, value: unknown): string {
  if (typeof value !== "string") {
    throw wrongType(field, "a string", value);
  }
  if (/\p{Surrogate}/u.test(value)) {
    throw invalid(field, "contains a lone surrogate");
  }
  return value;
}

/** One of these words. */
export function choice<T extends string>(words: readonly T[]): (field: string, value: unknown) => T {
  return (field, value) => {
    const word = text(field, value);
    if (!(words as readonly string[]).includes(word)) {
      throw invalid(field, `"${word}" is not one of ${words.join(", ")}`);
    }
    return word as T;
  };
}

export function bytes(field: string, value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) {
    throw wrongType(field, "a Buffer or Uint8Array", value);
  }
  return value;
}

/** Bytes, or text that is to be encoded as UTF-8. */
export function content(field: string, value: unknown): Uint8Array {
  return typeof value === "string" ? Buffer.from(text(field, value)) : bytes(field, value);
}

export function name(field: string, value: unknown): Name {
  if (value instanceof Uint8Array) {
    return value;
  }
  if (typeof value !== "string") {
    throw wrongType(field, "a string or Uint8Array", value);
  }
  return text(field, value);
}

/** A path of the host, made absolute: programs name their own files relative to their working directory. */
export function hostPath(field: string, value: unknown): Name {
  const path = name(field, value);
  return typeof path === "string" && path !== "" ? resolve(path) : path;
}

/** The items of an array, each read with its own name. */
export function list<T>(
  expected: string, read: (field: string, value: unknown) => T,
): (field: string, value: unknown) => T[] {
  return (field, value) => {
    if (!Array.isArray(value)) {
      throw wrongType(field, expected, value);
    }
    return Array.from(value, (item: unknown, index) => read(`${field}[${index}]`, item));
  };
}

export const names = list("an array of strings", name);
export const texts = list("an array of strings", text);

/** Variables, as names and values in turn. */
export function environment(field: string, value: unknown): Name[] {
  return pairs(field, value).flatMap(([key, item]) => [text(field, key), name(within(field, key), item)]);
}

/** The entries of a plain object, or of a `Map`. */
export function pairs(field: string, value: unknown): [string, unknown][] {
  if (value instanceof Map) {
    return [...value].map(([key, item]: [unknown, unknown]) => [text(field, key), item]);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrongType(field, "an object", value);
  }
  return Object.entries(value);
}

function typeName(value: unknown): string {
  if (value === null || typeof value !== "object") {
    return value === null ? "null" : typeof value;
  }
  return Array.isArray(value) ? "an array" : `an object of ${value.constructor?.name ?? "no class"}`;
}
