/* The agent of C for the conformance suite. ../../README.md has the protocol. */
#ifndef AGENT_H
#define AGENT_H

#include <jansson.h>
#include <sandboxset.h>
#include <stdbool.h>
#include <stdint.h>

enum kind { BACKEND, SET, REF, PROCESS, CONNECTION, EVENTS, CLOCK, CANCEL, BACKGROUND, KINDS };

/* What the driver calls each kind. */
extern const char *const kind_names[KINDS];

/* One request while it is performed. */
struct call {
  json_t *request;
  /* What the package complains of, if it does. */
  sandboxset_error *error;
  /* Memory that arguments point to, freed after the call. */
  struct piece *pieces;
};

/* Ends the agent, because the driver asked for something that it does not know. */
_Noreturn void complain(const char *what, const char *name);

/* handles.c: what the driver gave names to. Putting a name again frees what had it. */
void put_handle(enum kind kind, const char *name, void *handle);
void *get_handle(enum kind kind, const char *name);
void *take_handle(enum kind kind, const char *name);
void free_handle(enum kind kind, void *handle);
bool any_handle(enum kind kind);
void free_all_handles(void);

/* arguments.c: from JSON to what calls take. What is absent leaves a default as it is. */
const char *why_unsayable(const json_t *request);
void *keep(struct call *call, size_t size);
void free_kept(struct call *call);
const char *text(const json_t *object, const char *name);
uint64_t number(const json_t *object, const char *name, uint64_t otherwise);
bool yes(const json_t *object, const char *name);
/* The index of a text among `names`, which ends with NULL. */
uint32_t choice(const json_t *object, const char *name, const char *const *names, uint32_t otherwise);
/* Bytes, one for each character. */
uint8_t *data(struct call *call, const json_t *value, size_t *out_length);
/* A handle that the request names; NULL if it names none. */
void *handle(const struct call *call, const char *name);
sandboxset_spec *read_spec(struct call *call);
sandboxset_config *read_config(struct call *call);
sandboxset_get_options *read_get_options(struct call *call);
sandboxset_command *read_command(struct call *call);
sandboxset_mock_fault *read_fault(struct call *call);

/* answers.c: from what calls return to JSON. */
json_t *error_answer(const sandboxset_error *error);
json_t *data_answer(const uint8_t *bytes, size_t length);
json_t *output_answer(sandboxset_output *output);
json_t *event_answer(sandboxset_event *event);
json_t *stats_answer(const sandboxset *set);
json_t *layers_answer(sandboxset_report *report);
json_t *entries_answer(sandboxset_dir *dir);
/* The sum of a tally, and the tally itself as an object; both free it. */
uint64_t tally_sum(sandboxset_tally *tally);
json_t *tally_answer(sandboxset_tally *tally);

/* operations.c: the answer to a request. */
json_t *perform(json_t *request);

#endif
