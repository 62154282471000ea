/* What the driver gave names to: a list, because there are few. */
#include "agent.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct named {
  enum kind kind;
  char *name;
  void *handle;
  struct named *next;
};

const char *const kind_names[KINDS] = {"backend", "set",   "ref",    "process",   "connection",
                                       "events",  "clock", "cancel", "background"};

static struct named *all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct named **find(enum kind kind, const char *name) {
  struct named **place = &all;
  while (*place && ((*place)->kind != kind || strcmp((*place)->name, name) != 0)) {
    place = &(*place)->next;
  }
  return place;
}

void put_handle(enum kind kind, const char *name, void *handle) {
  void *former = NULL;
  pthread_mutex_lock(&lock);
  struct named *named = *find(kind, name);
  if (named) {
    former = named->handle;
  } else {
    named = malloc(sizeof *named);
    named->kind = kind;
    named->name = strdup(name);
    named->next = all;
    all = named;
  }
  named->handle = handle;
  pthread_mutex_unlock(&lock);
  free_handle(kind, former);
}

void *get_handle(enum kind kind, const char *name) {
  pthread_mutex_lock(&lock);
  struct named *named = *find(kind, name);
  void *handle = named ? named->handle : NULL;
  pthread_mutex_unlock(&lock);
  if (!handle) {
    complain("nothing is called", name);
  }
  return handle;
}

void *take_handle(enum kind kind, const char *name) {
  pthread_mutex_lock(&lock);
  struct named **place = find(kind, name);
  struct named *named = *place;
  if (!named) {
    complain("nothing is called", name);
  }
  *place = named->next;
  pthread_mutex_unlock(&lock);
  void *handle = named->handle;
  free(named->name);
  free(named);
  return handle;
}

void free_handle(enum kind kind, void *handle) {
  switch (kind) {
    case BACKEND: sandboxset_backend_free(handle); break;
    case SET: sandboxset_free(handle); break;
    case REF: sandboxset_ref_free(handle); break;
    case PROCESS: sandboxset_process_free(handle); break;
    case CONNECTION: sandboxset_connection_free(handle); break;
    case EVENTS: sandboxset_event_stream_free(handle); break;
    case CLOCK: sandboxset_clock_free(handle); break;
    case CANCEL: sandboxset_cancel_free(handle); break;
    case BACKGROUND: case KINDS: break;
  }
}

bool any_handle(enum kind kind) {
  for (const struct named *named = all; named; named = named->next) {
    if (named->kind == kind) {
      return true;
    }
  }
  return false;
}

void free_all_handles(void) {
  while (all) {
    enum kind kind = all->kind;
    free_handle(kind, take_handle(kind, all->name));
  }
}
