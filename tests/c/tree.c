/* The proposal which parents to preload. */
#include "check.h"

#include <math.h>

static const char *const numpy_only[] = {"numpy", NULL}, *const pandas_only[] = {"pandas", NULL};
static const char *const requests_only[] = {"requests", NULL}, *const scipy_only[] = {"scipy", NULL};

static sandboxset_package package(const char *name, uint64_t milliseconds, uint64_t mebibytes,
                                  const char *const *required) {
  sandboxset_package package;
  sandboxset_package_init(&package, sizeof package);
  CHECK(package.struct_size == sizeof package && package.import_time_ns == 0 && package.required == NULL);
  package.name = name;
  package.import_time_ns = milliseconds * 1000000;
  package.memory_bytes = mebibytes << 20;
  package.required = required;
  return package;
}

static sandboxset_function_imports function(const char *name, const char *const *imports, double weight) {
  sandboxset_function_imports function;
  sandboxset_function_imports_init(&function, sizeof function);
  CHECK(function.weight == 1.0);
  function.name = name;
  function.imports = imports;
  function.weight = weight;
  return function;
}

/* Three packages, of which one requires another, and three functions that import one each. */
static struct {
  sandboxset_package packages[3];
  sandboxset_function_imports functions[3];
  const sandboxset_package *package_list[3];
  const sandboxset_function_imports *function_list[3];
} given;

static void prepare(void) {
  given.packages[0] = package("numpy", 100, 20, NULL);
  given.packages[1] = package("pandas", 150, 50, numpy_only);
  given.packages[2] = package("requests", 80, 10, NULL);
  given.functions[0] = function("plot", numpy_only, 10);
  given.functions[1] = function("report", pandas_only, 5);
  given.functions[2] = function("fetch", requests_only, 1);
  for (int i = 0; i < 3; i++) {
    given.package_list[i] = &given.packages[i];
    given.function_list[i] = &given.functions[i];
  }
}

static sandboxset_code propose(const sandboxset_tree_limits *limits, sandboxset_tree **tree) {
  return sandboxset_propose_tree(given.function_list, 3, given.package_list, 3, limits, tree, &error);
}

static sandboxset_tree_node node_at(const sandboxset_tree *tree, size_t index) {
  sandboxset_tree_node node = {.struct_size = sizeof node};
  OK(sandboxset_tree_get_node(tree, index, &node, &error));
  CHECK(node.preload[node.preload_length] == NULL);
  return node;
}

static void common_imports_become_a_tree(void) {
  sandboxset_tree *tree = NULL;
  OK(propose(NULL, &tree));
  size_t count = 0, placed[3];
  OK(sandboxset_tree_count(tree, &count, &error));
  CHECK(count == 4);
  const uint64_t parents[] = {SANDBOXSET_TREE_NO_PARENT, 0, 1, 0};
  const char *const preloads[] = {NULL, "numpy", "pandas", "requests"};
  for (size_t i = 0; i < count; i++) {
    sandboxset_tree_node node = node_at(tree, i);
    CHECK(node.parent == parents[i]);
    CHECK(node.preload_length == (i > 0));
    if (i > 0) CHECK(strcmp(node.preload[0], preloads[i]) == 0);
  }
  CHECK(node_at(tree, 2).memory_bytes == 51u << 20);
  for (size_t i = 0; i < 3; i++) OK(sandboxset_tree_placement(tree, i, &placed[i], &error));
  CHECK(placed[0] == 1 && placed[1] == 2 && placed[2] == 3);
  double without = 0, with = 1;
  OK(sandboxset_tree_import_time(tree, &without, &with, &error));
  CHECK(fabs(without - (10 * 0.1 + 5 * 0.25 + 0.08)) < 1e-9 && fabs(with) < 1e-9);

  INVALID("index", sandboxset_tree_get_node(tree, 4, &(sandboxset_tree_node){.struct_size = 40}, &error));
  INVALID("function", sandboxset_tree_placement(tree, 3, &count, &error));
  INVALID("node", sandboxset_tree_get_node(tree, 0, NULL, &error));
  INVALID("node.struct_size", sandboxset_tree_get_node(tree, 0, &(sandboxset_tree_node){0}, &error));
  INVALID("out_with", sandboxset_tree_import_time(tree, &without, NULL, &error));
  INVALID("out_count", sandboxset_tree_count(tree, NULL, &error));
  sandboxset_tree_free(tree);
  sandboxset_tree_free(NULL);
}

static size_t nodes_within(uint64_t max_nodes, uint64_t memory, uint64_t node) {
  sandboxset_tree_limits limits;
  sandboxset_tree_limits_init(&limits, sizeof limits);
  CHECK(limits.max_nodes == 16 && limits.memory_bytes == UINT64_MAX && limits.node_bytes == 1 << 20);
  limits.max_nodes = max_nodes;
  limits.memory_bytes = memory;
  limits.node_bytes = node;
  sandboxset_tree *tree = NULL;
  OK(propose(&limits, &tree));
  size_t count = 0;
  OK(sandboxset_tree_count(tree, &count, &error));
  sandboxset_tree_free(tree);
  return count;
}

static void limits_are_kept(void) {
  CHECK(nodes_within(2, UINT64_MAX, 1 << 20) == 2);
  CHECK(nodes_within(16, 13 << 20, 2 << 20) == 1);
  CHECK(nodes_within(16, 14 << 20, 2 << 20) == 2);
}

static void nothing_has_a_root_only(void) {
  sandboxset_tree *tree = NULL;
  size_t count = 0;
  OK(sandboxset_propose_tree(NULL, 0, NULL, 0, NULL, &tree, &error));
  OK(sandboxset_tree_count(tree, &count, &error));
  CHECK(count == 1 && node_at(tree, 0).preload_length == 0);
  sandboxset_tree_free(tree);
}

static void bad_values_are_named(void) {
  sandboxset_tree *tree = NULL;
  sandboxset_tree_limits limits;
  sandboxset_tree_limits_init(&limits, sizeof limits);
  limits.max_nodes = 0;
  INVALID("limits.max_nodes", propose(&limits, &tree));
  limits.max_nodes = 1;
  limits.memory_bytes = 5;
  INVALID("limits.memory_bytes", propose(&limits, &tree));

  given.functions[0].imports = scipy_only;
  INVALID("functions[0].imports", propose(NULL, &tree));
  prepare();
  given.functions[1].weight = NAN;
  INVALID("functions[1].weight", propose(NULL, &tree));
  prepare();
  given.functions[1].name = "plot";
  INVALID("functions[1].name", propose(NULL, &tree));
  given.functions[1].name = NULL;
  INVALID("functions.name", propose(NULL, &tree));
  given.functions[1].name = "\xff";
  INVALID("functions.name", propose(NULL, &tree));
  prepare();
  given.packages[2].name = "";
  INVALID("packages[2].name", propose(NULL, &tree));
  prepare();
  given.packages[2].struct_size = 3;
  INVALID("packages.struct_size", propose(NULL, &tree));
  prepare();
  given.package_list[1] = NULL;
  INVALID("packages", propose(NULL, &tree));
  prepare();
  INVALID("functions", sandboxset_propose_tree(NULL, 3, given.package_list, 3, NULL, &tree, &error));
  INVALID("packages_length",
          sandboxset_propose_tree(given.function_list, 3, given.package_list, SIZE_MAX, NULL, &tree, &error));
  INVALID("out_tree", propose(NULL, NULL));
  CHECK(tree == NULL);
}

int main(void) {
  prepare();
  common_imports_become_a_tree();
  limits_are_kept();
  nothing_has_a_root_only();
  bad_values_are_named();
  return 0;
}
