/*
 * The part of the Python runtime that is not Python: the fork server of sandboxset_zygote.h, for ctypes, and the wait
 * of a fork for its first call.
 *
 * It has no dependencies, not even the C library that it was built with: what it calls is found in the one that the
 * interpreter runs on, whichever that is, and in the interpreter, whichever version that has.
 */
#define SANDBOXSET_ZYGOTE_IMPLEMENTATION
#include "sandboxset_zygote.h"

#include <link.h>
#include <poll.h>
#include <sys/un.h>

/* What the interpreter is asked: each of these has been there, and been this, since long before Python 3.9. */
extern void PyOS_BeforeFork(void);
extern void PyOS_AfterFork_Parent(void);
extern void PyOS_AfterFork_Child(void);
extern void *PyImport_GetModuleDict(void);
extern void *PyModule_GetDict(void *module);
extern int PyDict_Next(void *dict, ssize_t *position, void **key, void **value);
extern void *PyDict_New(void);
extern int PyDict_SetItem(void *dict, void *key, void *value);
extern void *PyList_New(ssize_t size);
extern int PyList_Append(void *list, void *item);
extern void *PyBytes_FromStringAndSize(const char *bytes, ssize_t size);
extern const char *PyUnicode_AsUTF8(void *string);
extern void *PyUnicode_DecodeFSDefault(const char *text);
extern void *Py_BuildValue(const char *format, ...);
extern void Py_DecRef(void *object);
extern int PyCallable_Check(void *object);
extern void *PyErr_SetFromErrno(void *type);
extern void PyErr_Clear(void);
extern void *PyExc_OSError;

/*
 * Serves forks. Answers None in the server when nobody asks for them any more. Answers in each fork its arguments, a
 * list; its variables, a dictionary of bytes; and the descriptor of the socket on which its first call waits, or -1 if
 * it is not ready yet.
 */
__attribute__((visibility("default"))) void *sandboxset_python_serve(void);

/*
 * The value of a dictionary, or NULL. It counts no reference, makes no string and computes no hash: each would be a
 * write to what a fork shares with its parent, and so a page of its own.
 */
static void *find(void *dict, const char *name, size_t length) {
    void *key, *value;
    ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        const char *text = PyUnicode_AsUTF8(key);
        if (text == NULL)
            PyErr_Clear(); /* No string, or one that is no name. */
        else if (!strncmp(text, name, length) && text[length] == 0)
            return value;
    }
    return NULL;
}

/* What is in a module that was imported before the fork, or NULL if that is no plain module. */
static void *contents(const char *name, size_t length) {
    void *module = find(PyImport_GetModuleDict(), name, length);
    void *dict = module != NULL ? PyModule_GetDict(module) : NULL;
    if (dict == NULL) PyErr_Clear();
    return dict;
}

static int is_loaded(const char *handler) {
    const char *colon = strchr(handler, ':');
    void *dict = colon != NULL ? contents(handler, (size_t)(colon - handler)) : NULL;
    /* A function of a class is not found, and so nobody asks whose code would run to get it. */
    void *function = dict != NULL ? find(dict, colon + 1, strlen(colon + 1)) : NULL;
    return function != NULL && PyCallable_Check(function);
}

static int is_in_order(const char *path) { return access(path, R_OK | X_OK) == 0 || access(path, F_OK) != 0; }

static int is_program(const char *argument) {
    static const char program[] = "/sandboxset_runtime/__main__.py";
    size_t length = strlen(argument), end = sizeof program - 1;
    return length >= end && !strcmp(argument + length - end, program);
}

/*
 * Whether nothing that this fork was told to be can fail, because it is there already. Whatever could, or is not known
 * here, is Python's to do before the fork is ready, and to explain.
 */
static int has_all(const struct sandboxset_zygote_child *told) {
    int index = 0;
    if (getenv("SANDBOXSET_FORK_FD") != NULL || !is_in_order("/code")) return 0;
    while (index < told->argc && !is_program(told->argv[index])) index++;
    /* Nothing to be is something to be; another program is not. */
    if (index == told->argc) return told->argc == 0;
    while (++index < told->argc) {
        const char *argument = told->argv[index];
        int is_there = !strncmp(argument, "handler=", 8)   ? is_loaded(argument + 8)
                       : !strncmp(argument, "preload=", 8) ? contents(argument + 8, strlen(argument + 8)) != NULL
                       : !strncmp(argument, "path=", 5)    ? is_in_order(argument + 5)
                                                           : !strncmp(argument, "json=", 5);
        if (!is_there) return 0;
    }
    return 1;
}

/* A socket that calls come in on, or -1. */
static int listen_on(const char *path) {
    struct sockaddr_un address;
    int listener;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (path == NULL || strlen(path) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, strlen(path));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) return -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 64) < 0) {
        close(listener);
        return -1;
    }
    return listener;
}

/*
 * Is ready and waits for the first call, if there is nothing to do before. What the interpreter does after a fork
 * writes to some three hundred pages that were its parent's; a fork that nobody calls has none of them.
 */
static int await_call(const struct sandboxset_zygote_child *told) {
    struct pollfd wait = {-1, POLLIN, 0};
    if (has_all(told)) wait.fd = listen_on(getenv("SANDBOXSET_SOCKET"));
    if (wait.fd < 0 || sandboxset_zygote_ready() < 0) return wait.fd;
    close(SSZ_READY_FD);
    /* A signal ends it too: what is to be done at that is Python's. */
    poll(&wait, 1, -1);
    return wait.fd;
}

/*
 * Has forks be given the page tables of a file that is mapped, instead of faulting in page after page of the interpreter
 * while somebody waits. The kernel copies them for mappings only that have a page of their own, because they were
 * written to; the last byte of each part of the file is, with what it was.
 */
static int share_tables(struct dl_phdr_info *file, size_t size, void *unused) {
    const uintptr_t page = 4096;
    int index;
    (void)size;
    (void)unused;
    for (index = 0; index < file->dlpi_phnum; index++) {
        const ElfW(Phdr) *part = &file->dlpi_phdr[index];
        uintptr_t first = file->dlpi_addr + part->p_vaddr, end = (first + part->p_memsz + page - 1) & ~(page - 1);
        void *start = (void *)(first & ~(page - 1));
        size_t length = end - (uintptr_t)start;
        int rights = (part->p_flags & PF_R ? PROT_READ : 0) | (part->p_flags & PF_X ? PROT_EXEC : 0);
        volatile char *last = (volatile char *)(end - 1);
        /* Where no code may be made writable, forks take longer. */
        if (part->p_type != PT_LOAD || part->p_flags & PF_W || length == 0) continue;
        if (mprotect(start, length, rights | PROT_READ | PROT_WRITE) < 0) continue;
        *last = *last;
        mprotect(start, length, rights);
    }
    return 0;
}

/* What a fork was told, as objects. */
static void *arguments_of(const struct sandboxset_zygote_child *told) {
    void *list = PyList_New(0);
    int index;
    for (index = 0; list != NULL && index < told->argc; index++) {
        void *argument = PyUnicode_DecodeFSDefault(told->argv[index]);
        int failed = argument == NULL || PyList_Append(list, argument) < 0;
        Py_DecRef(argument);
        if (!failed) continue;
        Py_DecRef(list);
        return NULL;
    }
    return list;
}

static void *variables_of(const struct sandboxset_zygote_child *told) {
    void *dict = PyDict_New();
    int index;
    for (index = 0; dict != NULL && told->envp[index] != NULL; index++) {
        const char *name = told->envp[index], *equals = strchr(name, '=');
        const char *text = equals != NULL ? equals + 1 : "";
        void *key = PyBytes_FromStringAndSize(name, equals != NULL ? equals - name : (ssize_t)strlen(name));
        void *value = PyBytes_FromStringAndSize(text, (ssize_t)strlen(text));
        int failed = key == NULL || value == NULL || PyDict_SetItem(dict, key, value) < 0;
        Py_DecRef(key);
        Py_DecRef(value);
        if (!failed) continue;
        Py_DecRef(dict);
        return NULL;
    }
    return dict;
}

void *sandboxset_python_serve(void) {
    /* The interpreter's handlers are part of its state: a child that lost them would have its own idea of them. */
    struct sandboxset_zygote_hooks hooks = {NULL, NULL, NULL, 1, NULL};
    struct sandboxset_zygote_child told;
    void *arguments, *variables;
    int result, error, listener;
    dl_iterate_phdr(share_tables, NULL);
    /*
     * Once, and not around each fork: no Python runs in between. And what the server writes to its children keep as it
     * was, each a page of their own.
     */
    PyOS_BeforeFork();
    /* The kernel reaps what this process forks; a child expects to reap its own. */
    signal(SIGCHLD, SIG_IGN);
    result = sandboxset_zygote_serve(&hooks, &told);
    error = errno;
    signal(SIGCHLD, SIG_DFL);
    if (result != 1) {
        PyOS_AfterFork_Parent();
        errno = error;
        return result == 0 ? Py_BuildValue("") : PyErr_SetFromErrno(PyExc_OSError);
    }
    listener = await_call(&told);
    PyOS_AfterFork_Child();
    arguments = arguments_of(&told);
    variables = variables_of(&told);
    if (arguments != NULL && variables != NULL) return Py_BuildValue("NNi", arguments, variables, listener);
    Py_DecRef(arguments);
    Py_DecRef(variables);
    return NULL;
}
