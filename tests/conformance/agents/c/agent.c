/* Reads requests, answers them, and runs on threads what shall be in the background. */
#include "agent.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct background {
  pthread_t thread;
  json_t *request;
};

_Noreturn void complain(const char *what, const char *name) {
  fprintf(stderr, "agent: %s %s\n", what, name ? name : "");
  exit(1);
}

static void *run(void *background) {
  return perform(((struct background *)background)->request);
}

static json_t *start(const char *name, const json_t *request) {
  struct background *background = malloc(sizeof *background);
  /* A copy, because threads must not share what counts its users. */
  background->request = json_deep_copy(request);
  if (pthread_create(&background->thread, NULL, run, background) != 0) {
    complain("no thread for", name);
  }
  put_handle(BACKGROUND, name, background);
  return json_pack("{sn}", "ok");
}

static json_t *join(const char *name) {
  struct background *background = take_handle(BACKGROUND, name);
  void *answer = NULL;
  pthread_join(background->thread, &answer);
  json_decref(background->request);
  free(background);
  return answer;
}

static json_t *answer(json_t *request) {
  const char *background = json_string_value(json_object_get(request, "background"));
  if (strcmp(text(request, "op"), "join") == 0) {
    return join(text(request, "name"));
  }
  return background ? start(background, request) : perform(request);
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, stdin)) > 0) {
    json_error_t error;
    json_t *request = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, &error);
    if (!request) {
      complain("not understood:", error.text);
    }
    json_t *said = answer(request);
    json_dumpf(said, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(said);
    json_decref(request);
  }
  free(line);
  /* What a thread still uses must not be freed. */
  if (!any_handle(BACKGROUND)) {
    free_all_handles();
  }
  return 0;
}
