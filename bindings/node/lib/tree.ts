/** A proposal which parents to preload. */

import { count, finite, list, millis, optional, options, text, texts, within } from "./checks.js";
import { native } from "./native.js";

/** A package that functions import. */
export interface Package {
  /** What functions and other packages call it. */
  name: string;
  /** How long importing it takes when all it requires is there already. */
  importTimeMs: number;
  /** Memory it takes once it is imported, without what it requires; default 0. */
  memoryBytes?: number;
  /** The packages that are imported with it. */
  requires?: readonly string[];
}

/** A function that is to be forked from a node of the tree. */
export interface FunctionImports {
  /** What it is called. */
  name: string;
  /** The packages it imports; what they require need not be listed. */
  imports: readonly string[];
  /** How often it is started, in whatever unit is the same for all; default 1. */
  weight?: number;
}

/** What a tree may take. */
export interface TreeLimits {
  /** Nodes at most, the root included; default 16. */
  maxNodes?: number;
  /** Memory of all nodes together; default no limit. */
  memoryBytes?: number;
  /** Memory that each node takes beyond the packages it adds; default 1 MiB. */
  nodeBytes?: number;
}

/** A parent to preload. */
export interface ZygoteNode {
  /** The number of its own parent; nothing for the root. */
  readonly parent?: number;
  /** What it imports beyond what its parent has; everything comes after what it requires. */
  readonly preload: readonly string[];
  /** What it takes beyond its parent. */
  readonly memoryBytes: number;
}

/** A proposed tree of parents. */
export interface ZygoteTree {
  /** The nodes; the first one is the root, and every other one comes after its parent. */
  readonly nodes: readonly ZygoteNode[];
  /** The number of the node to fork each function from, by its name. */
  readonly placements: Readonly<Record<string, number>>;
  /** Import time on the request path if every function starts from nothing, each by its weight. */
  readonly importTimeWithoutMs: number;
  /** The same if every function is forked from its node. */
  readonly importTimeWithMs: number;
}

/**
 * Proposes a tree of parents for these functions. The answer depends on nothing but the arguments.
 *
 * A function can be forked from any parent that has loaded nothing but what the function imports anyway. The tree is
 * grown by the node that saves the most import time, as OpenLambda's Forklift does it.
 */
export function proposeTree(
  functions: readonly FunctionImports[], packages: readonly Package[], given: TreeLimits = {},
): ZygoteTree {
  const limits = options("options", given, ["maxNodes", "memoryBytes", "nodeBytes"]);
  return native.proposeTree(
    list("an array of functions", readFunction)("functions", functions),
    list("an array of packages", readPackage)("packages", packages),
    {
      maxNodes: optional("maxNodes", limits.maxNodes, count),
      memoryBytes: optional("memoryBytes", limits.memoryBytes, count),
      nodeBytes: optional("nodeBytes", limits.nodeBytes, count),
    },
  ) as ZygoteTree;
}

function readFunction(field: string, value: unknown): object {
  const given = options(field, value, ["name", "imports", "weight"]);
  return {
    name: text(within(field, "name"), given.name),
    imports: texts(within(field, "imports"), given.imports),
    weight: optional(within(field, "weight"), given.weight, finite),
  };
}

function readPackage(field: string, value: unknown): object {
  const given = options(field, value, ["name", "importTimeMs", "memoryBytes", "requires"]);
  return {
    name: text(within(field, "name"), given.name),
    importTime: millis(within(field, "importTimeMs"), given.importTimeMs),
    memoryBytes: optional(within(field, "memoryBytes"), given.memoryBytes, count),
    requires: optional(within(field, "requires"), given.requires, texts),
  };
}
