/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A device for tests: the CPU's operations behind a queue and a thread for each backend. It is
 * built as the module lightforcing-cuda, so that kernels/open.c opens it as the backend "cuda" and
 * the engine works as on a GPU: with a second backend for the decoder, events, graphs, and failures
 * that are reported later. Types are the CPU's, so frames equal the CPU's byte for byte.
 *
 * Calls return at once. Operations, moves of memory and events run on the backend's thread in the
 * order of the calls. A capture keeps calls, and graph_launch queues them again. What the contract
 * in kernels/backend.h forbids (upload, download, sync, alloc or an event inside of a capture, the
 * time of an event that has not completed) ends the process. So does, at the process's end, whatever
 * is left: a backend that was not closed, memory, weights, an event or a graph that was not freed.
 *
 * The environment, read whenever a backend is opened:
 *
 *   LF_STANDIN_FAIL    "operation:n", any number of them separated by commas. The n-th call (from
 *                      1) of this operation on this backend fails. It and every call after it
 *                      write nothing, and event_sync reports it, until sync has. Operations are the
 *                      entries of LfOps except weight_new and weight_free, and upload, download,
 *                      copy, clear and graph_launch; "any" counts all of these. Calls of a graph
 *                      count when they run. "pixels" fails where it is called. "alloc",
 *                      "event_new" and "capture" (its end) return NULL, as their contract says.
 *   LF_STANDIN_POISON  1: from a failed call until sync has reported it, outputs are filled with
 *                      bytes of 255 in place of being computed; so are memory when it is
 *                      allocated and the first line of a picture whose "pixels" failed.
 *   LF_STANDIN_SLOW    Every call that is queued sleeps before it runs, each for a random time from
 *                      0 to twice so many microseconds.
 *                      "operation:microseconds": only the calls of this one do. "capture:…": all
 *                      calls that a capture takes sleep, each for this time.
 *   LF_STANDIN_QUEUE   A call blocks when so many are queued, as in a driver. Unset: no bound, so
 *                      that all calls of a chunk return long before the chunk is computed.
 *   LF_STANDIN_MEMORY  Megabytes that are free, as the backend tells them. Unset: it tells nothing.
 *   LF_STANDIN_FP8     1: precision fp8 can be opened. Weights are held in F32 there, too.
 *   LF_STANDIN_OPEN    "old-driver" or "unsupported": opening fails, with the message of a driver
 *                      that is too old, or of a device that no kernel is built for.
 */
#include <gmodule.h>

extern "C" {
#include "kernels/cuda/module.h"
#include "kernels/ops.h"
}

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace {

struct Standin;

struct Call {
    const char *name; /* for LF_STANDIN_FAIL; NULL: cannot fail */
    LfTensor out;     /* what poison fills; {}: nothing */
    std::function<void(Standin *)> run;
};

/* A call that LF_STANDIN_FAIL names, and how often it was called. */
struct Fault {
    std::string name;
    long at, met;
};

struct EventState {
    uint64_t recorded = 0, completed = 0; /* calls of event_record, and how many have run */
    int64_t time = 0;                     /* of the last that has run; ns */
};

struct Standin {
    LfBackend base;
    LfOps ops;
    LfBackend *cpu; /* used by `thread` alone, but for pixels and weights */
    bool poison;
    int slow;              /* microseconds */
    std::string slow_call; /* the only one that is slow; empty: all are */
    size_t most;           /* calls in the queue; 0: no bound */
    int n_graphs;          /* of this backend, not freed yet */

    std::thread thread;
    std::condition_variable work; /* something is queued, or `closing` */
    std::deque<Call> queue;       /* this and what follows: guarded by device().lock */
    size_t n_unfinished;          /* queued or running */
    bool closing;                 /* the thread ends when the queue is empty */
    std::vector<Fault> faults;
    std::string failure;                        /* latched; empty: none */
    std::unique_ptr<std::vector<Call>> capture; /* between capture_begin and capture_end */
};

/* What the engine has to give back. */
struct Held {
    std::atomic<int> backends, memory, weights, events, graphs;
};

/* Shared by all backends, as events are. Never destroyed: backends may be left open at exit. */
struct Device {
    std::mutex lock;
    std::condition_variable changed; /* an event has completed, or a queue is shorter */
    Held held = {};
};

Device &device()
{
    static Device *one = new Device;
    return *one;
}

using Lock = std::unique_lock<std::mutex>;

Standin *standin(LfBackend *be)
{
    return reinterpret_cast<Standin *>(be);
}

/* ---- failures -------------------------------------------------------------------------------- */

bool meets_fault(Standin *s, const char *name, bool counts_as_any)
{
    bool fails = false;
    Lock hold(device().lock);
    for (Fault &fault : s->faults)
        if (fault.name == name || (counts_as_any && fault.name == "any"))
            fails |= ++fault.met == fault.at;
    return fails;
}

/* Under the lock. */
bool tell_failure(const Standin *s, GError **error)
{
    if (s->failure.empty())
        return true;
    g_set_error(error, LF_ERROR, LF_ERROR_DEVICE,
                "%s: launch failed on %s: try again; if it persists, restart the program, or use "
                "the backend \"cpu\"",
                s->failure.c_str(), s->base.description);
    return false;
}

/* ---- the queue ------------------------------------------------------------------------------- */

/* Whether the call runs. After a failure no call runs until the failure is reported: it might read
 * slots or ids that were never written, and use them as indices. */
bool admit(Standin *s, const Call &call)
{
    if (s->slow > 0 && (s->slow_call.empty() || s->slow_call == call.name))
        g_usleep((gulong) g_random_int_range(0, 2 * s->slow + 1));
    bool fails = meets_fault(s, call.name, true);
    Lock hold(device().lock);
    if (fails && s->failure.empty())
        s->failure = call.name;
    bool failed = !s->failure.empty();
    if (failed && s->poison && lf_is_set(call.out))
        memset(call.out.data, 0xff, lf_tensor_size(call.out));
    return !failed;
}

void perform(Standin *s, const Call &call)
{
    if (!call.name || admit(s, call))
        call.run(s);
}

void work(Standin *s)
{
    Lock hold(device().lock);
    for (;;) {
        s->work.wait(hold, [s] { return s->closing || !s->queue.empty(); });
        if (s->queue.empty())
            return;
        Call call = std::move(s->queue.front());
        s->queue.pop_front();
        if (s->most > 0)
            device().changed.notify_all();
        hold.unlock();
        perform(s, call);
        call = Call();
        hold.lock();
        if (--s->n_unfinished == 0)
            device().changed.notify_all();
    }
}

void enqueue(Standin *s, Call call)
{
    Lock hold(device().lock);
    device().changed.wait(hold, [s] { return s->most == 0 || s->queue.size() < s->most; });
    s->queue.push_back(std::move(call));
    s->n_unfinished++;
    s->work.notify_one();
}

/* Operations, copy and clear: the only calls that may be captured. */
void enqueue_or_capture(Standin *s, Call call)
{
    if (s->capture && s->slow_call == "capture")
        g_usleep((gulong) s->slow);
    if (s->capture)
        s->capture->push_back(std::move(call));
    else
        enqueue(s, std::move(call));
}

void refuse_in_capture(Standin *s, const char *what)
{
    if (s->capture)
        g_error("%s inside of a capture", what);
}

void drain(Standin *s, Lock &hold)
{
    device().changed.wait(hold, [s] { return s->n_unfinished == 0; });
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Keeps an argument until its call runs: a reference is valid only until the call returns. */
template <typename T> struct Kept {
    T value;
    explicit Kept(T given) : value(given)
    {
    }
    T get() const
    {
        return value;
    }
};

template <typename T> struct KeptReference {
    T value;
    explicit KeptReference(const T *given) : value(*given)
    {
    }
    const T *get() const
    {
        return &value;
    }
};

template <> struct Kept<const LfWindow *> : KeptReference<LfWindow> {
    using KeptReference::KeptReference;
};

template <> struct Kept<const LfRope *> : KeptReference<LfRope> {
    using KeptReference::KeptReference;
};

template <> struct Kept<const LfSelection *> : KeptReference<LfSelection> {
    using KeptReference::KeptReference;
};

/* Weights and pixels, which are not queued. */
template <auto entry> struct Queued {
    static void fill(LfOps *, const char *)
    {
    }
};

/* All other operations; each writes its first tensor. */
template <typename... A, void (*LfOps::*entry)(LfBackend *, LfTensor, A...)> struct Queued<entry> {
    static inline const char *name;

    static void call(LfBackend *be, LfTensor out, A... arguments)
    {
        std::tuple<Kept<A>...> kept{Kept<A>(arguments)...};
        auto run = [out, kept](Standin *s) {
            std::apply(
                [s, out](const auto &...k) { (s->cpu->ops->*entry)(s->cpu, out, k.get()...); },
                kept);
        };
        enqueue_or_capture(standin(be), {name, out, run});
    }

    static void fill(LfOps *table, const char *operation)
    {
        name = operation;
        table->*entry = call;
    }
};

LfWeight *weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error)
{
    Standin *s = standin(be);
    {
        Lock hold(device().lock);
        drain(s, hold);
    }
    LfWeight *weight = s->cpu->ops->weight_new(s->cpu, kind, source, error);
    device().held.weights += weight != nullptr;
    return weight;
}

void weight_free(LfBackend *be, LfWeight *weight)
{
    device().held.weights -= weight != nullptr;
    standin(be)->cpu->ops->weight_free(standin(be)->cpu, weight);
}

/* Runs on the caller's thread and reports its own failure. */
bool pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error)
{
    Standin *s = standin(be);
    if (!meets_fault(s, "pixels", false))
        return s->cpu->ops->pixels(s->cpu, picture, rgb, error);
    for (int i = 0; s->poison && i < 3; i++)
        if (picture->planes[i])
            memset(picture->planes[i], 0xff, (size_t) picture->strides[i]);
    g_set_error(error, LF_ERROR, LF_ERROR_DEVICE, "pixels: copy failed on %s", s->base.description);
    return false;
}

LfOps make_table()
{
    LfOps table = {};
    table.weight_new = weight_new;
    table.weight_free = weight_free;
    table.pixels = pixels;
#define QUEUE(operation) Queued<&LfOps::operation>::fill(&table, #operation);
    LF_OPERATIONS(QUEUE)
#undef QUEUE
    return table;
}

/* Made once, by whichever thread opens a backend first. */
void fill_table(LfOps *table)
{
    static const LfOps made = make_table();
    *table = made;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *alloc(LfBackend *be, size_t size)
{
    Standin *s = standin(be);
    refuse_in_capture(s, "alloc");
    void *memory = meets_fault(s, "alloc", false) ? nullptr : s->cpu->alloc(s->cpu, size);
    if (memory && s->poison)
        memset(memory, 0xff, size);
    device().held.memory += memory != nullptr;
    return memory;
}

/* Queued calls may still use the memory. */
void release(LfBackend *be, void *memory)
{
    device().held.memory -= memory != nullptr;
    enqueue(standin(be), {nullptr, {}, [memory](Standin *s) { s->cpu->free(s->cpu, memory); }});
}

bool device_memory(LfBackend *, size_t *unused, size_t *total)
{
    const char *megabytes = g_getenv("LF_STANDIN_MEMORY");
    *unused = megabytes ? (size_t) (g_ascii_strtod(megabytes, NULL) * 1048576) : 0;
    *total = (size_t) 80 << 30;
    return megabytes != nullptr;
}

void upload(LfBackend *be, void *dst, const void *src, size_t size)
{
    refuse_in_capture(standin(be), "upload");
    std::shared_ptr<void> bytes(g_memdup2(src, size), g_free);
    enqueue(standin(be), {"upload", {}, [dst, bytes, size](Standin *s) {
                              s->cpu->upload(s->cpu, dst, bytes.get(), size);
                          }});
}

void download(LfBackend *be, void *dst, const void *src, size_t size)
{
    Standin *s = standin(be);
    refuse_in_capture(s, "download");
    enqueue(s, {"download", {}, [dst, src, size](Standin *t) {
                    t->cpu->download(t->cpu, dst, src, size);
                }});
    Lock hold(device().lock);
    drain(s, hold);
}

void copy(LfBackend *be, void *dst, const void *src, size_t size)
{
    enqueue_or_capture(standin(be), {"copy", {}, [dst, src, size](Standin *s) {
                                         s->cpu->copy(s->cpu, dst, src, size);
                                     }});
}

void clear(LfBackend *be, void *dst, size_t size)
{
    enqueue_or_capture(
        standin(be), {"clear", {}, [dst, size](Standin *s) { s->cpu->clear(s->cpu, dst, size); }});
}

bool sync(LfBackend *be, GError **error)
{
    Standin *s = standin(be);
    refuse_in_capture(s, "sync");
    GError *of_cpu = nullptr;
    Lock hold(device().lock);
    drain(s, hold);
    if (!s->cpu->sync(s->cpu, &of_cpu) && s->failure.empty())
        s->failure = of_cpu->message;
    g_clear_error(&of_cpu);
    bool well = tell_failure(s, error);
    s->failure.clear();
    return well;
}

} // namespace

/* ---- events ---------------------------------------------------------------------------------- */

/* Queued calls have a reference to the state: an event may be freed before they run. */
struct LfEvent {
    std::shared_ptr<EventState> state;
};

struct LfGraph {
    std::shared_ptr<const std::vector<Call>> calls;
};

namespace {

LfEvent *event_new(LfBackend *be)
{
    if (meets_fault(standin(be), "event_new", false))
        return nullptr;
    device().held.events++;
    return new LfEvent{std::make_shared<EventState>()};
}

void event_free(LfBackend *, LfEvent *event)
{
    device().held.events -= event != nullptr;
    delete event;
}

void event_record(LfBackend *be, LfEvent *event)
{
    Standin *s = standin(be);
    refuse_in_capture(s, "event_record");
    std::shared_ptr<EventState> state = event->state;
    {
        Lock hold(device().lock);
        state->recorded++;
    }
    enqueue(s, {nullptr, {}, [state](Standin *) {
                    Lock hold(device().lock);
                    state->completed++;
                    state->time = 1000 * g_get_monotonic_time();
                    device().changed.notify_all();
                }});
}

/* Waits for the last record, like cudaEventSynchronize; returns at once if there was none. */
void await(const EventState &state, Lock &hold)
{
    uint64_t target = state.recorded;
    device().changed.wait(hold, [&state, target] { return state.completed >= target; });
}

bool event_sync(LfBackend *be, LfEvent *event, GError **error)
{
    Lock hold(device().lock);
    await(*event->state, hold);
    return tell_failure(standin(be), error);
}

void wait_event(LfBackend *be, LfEvent *event)
{
    Standin *s = standin(be);
    refuse_in_capture(s, "wait_event");
    std::shared_ptr<EventState> state = event->state;
    Lock hold(device().lock);
    uint64_t target = state->recorded;
    hold.unlock();
    enqueue(s, {nullptr, {}, [state, target](Standin *) {
                    Lock held(device().lock);
                    device().changed.wait(held, [&] { return state->completed >= target; });
                }});
}

int64_t event_elapsed(LfBackend *, LfEvent *from, LfEvent *to)
{
    Lock hold(device().lock);
    for (const LfEvent *event : {from, to})
        if (event->state->recorded == 0 || event->state->completed < event->state->recorded)
            g_error("event_elapsed of an event that has not completed");
    return to->state->time - from->state->time;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

void capture_begin(LfBackend *be)
{
    refuse_in_capture(standin(be), "capture_begin");
    standin(be)->capture = std::make_unique<std::vector<Call>>();
}

LfGraph *capture_end(LfBackend *be)
{
    Standin *s = standin(be);
    if (!s->capture)
        g_error("capture_end without capture_begin");
    std::shared_ptr<const std::vector<Call>> calls = std::move(s->capture);
    if (meets_fault(s, "capture", false))
        return nullptr;
    s->n_graphs++;
    device().held.graphs++;
    return new LfGraph{calls};
}

void graph_launch(LfBackend *be, LfGraph *graph)
{
    refuse_in_capture(standin(be), "graph_launch");
    enqueue(standin(be), {"graph_launch", {}, [calls = graph->calls](Standin *s) {
                              for (const Call &call : *calls)
                                  perform(s, call);
                          }});
}

void graph_free(LfBackend *be, LfGraph *graph)
{
    standin(be)->n_graphs -= graph != nullptr;
    device().held.graphs -= graph != nullptr;
    delete graph;
}

/* ---- open and close -------------------------------------------------------------------------- */

void close(LfBackend *be)
{
    Standin *s = standin(be);
    if (s->n_graphs != 0)
        g_error("%d graphs are left as their backend is closed", s->n_graphs);
    {
        Lock hold(device().lock);
        s->closing = true;
        s->work.notify_one();
    }
    s->thread.join();
    lf_backend_close(s->cpu);
    delete s;
    device().held.backends--;
}

/* At the end of the process. A test that has failed has been told already. */
void tell_what_is_left()
{
    const Held &held = device().held;
    if (held.backends + held.memory + held.weights + held.events + held.graphs != 0)
        g_error("left on the stand-in at the end: %d backends, %d blocks of memory, %d weights, %d "
                "events, %d graphs",
                held.backends.load(), held.memory.load(), held.weights.load(), held.events.load(),
                held.graphs.load());
}

std::vector<Fault> read_faults()
{
    std::vector<Fault> faults;
    const char *text = g_getenv("LF_STANDIN_FAIL");
    g_auto(GStrv) words = g_strsplit(text ? text : "", ",", -1);
    for (char **word = words; *word; word++) {
        const char *colon = strchr(*word, ':');
        long at = colon ? atol(colon + 1) : 0;
        if (at < 1)
            g_error("LF_STANDIN_FAIL=%s: write \"operation:n\", n from 1", text);
        faults.push_back({std::string(*word, (size_t) (colon - *word)), at, 0});
    }
    return faults;
}

bool is_usable(int number, LfPrecision precision, GError **error)
{
    const char *state = g_getenv("LF_STANDIN_OPEN");
    if (g_strcmp0(state, "old-driver") == 0)
        g_set_error(error, LF_ERROR, LF_ERROR_DEVICE,
                    "CUDA device %d cannot be used: CUDA driver version is insufficient for CUDA "
                    "runtime version: this build needs driver 580 or newer; update it, or use the "
                    "backend \"cpu\"",
                    number);
    else if (g_strcmp0(state, "unsupported") == 0)
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "the stand-in has compute capability 10.0, which no kernel was built for: use "
                    "the backend \"cpu\"");
    else if (number > 0)
        g_set_error(error, LF_ERROR, LF_ERROR_DEVICE,
                    "no CUDA device %d: there is 1, numbered from 0", number);
    else if (precision == LF_PRECISION_FP8 && !g_getenv("LF_STANDIN_FP8"))
        g_set_error(error, LF_ERROR, LF_ERROR_UNSUPPORTED,
                    "the stand-in does not support precision fp8; use bf16");
    else
        return true;
    return false;
}

LfBackend *open(int number, LfPrecision precision, GError **error)
{
    LfBackend *cpu = is_usable(number, precision, error) ? lf_backend_open_cpu(1, error) : nullptr;
    if (!cpu)
        return nullptr;
    const char *slow = g_getenv("LF_STANDIN_SLOW"), *most = g_getenv("LF_STANDIN_QUEUE");
    static const int watched = atexit(tell_what_is_left);
    if (watched != 0)
        g_error("atexit failed");
    Standin *s = new Standin();
    device().held.backends++;
    s->cpu = cpu;
    s->poison = g_strcmp0(g_getenv("LF_STANDIN_POISON"), "1") == 0;
    const char *colon = slow ? strchr(slow, ':') : nullptr;
    if (colon)
        s->slow_call.assign(slow, (size_t) (colon - slow));
    s->slow = slow ? atoi(colon ? colon + 1 : slow) : 0;
    s->most = most ? (size_t) atoi(most) : 0;
    s->faults = read_faults();
    fill_table(&s->ops);
    LfBackend *be = &s->base;
    be->ops = &s->ops;
    be->name = "cuda";
    g_strlcpy(be->description, "stand-in for a device", sizeof be->description);
    be->n_threads = 1;
    be->precision = precision == LF_PRECISION_AUTO ? LF_PRECISION_BF16 : precision;
    be->activation_type = cpu->activation_type;
    be->decoder_type = cpu->decoder_type;
    be->asynchronous = true;
    be->alloc = alloc;
    be->free = release;
    be->memory = device_memory;
    be->upload = upload;
    be->download = download;
    be->copy = copy;
    be->clear = clear;
    be->sync = sync;
    be->event_new = event_new;
    be->event_free = event_free;
    be->event_record = event_record;
    be->event_sync = event_sync;
    be->wait_event = wait_event;
    be->event_elapsed = event_elapsed;
    be->capture_begin = capture_begin;
    be->capture_end = capture_end;
    be->graph_launch = graph_launch;
    be->graph_free = graph_free;
    be->close = close;
    s->thread = std::thread(work, s);
    return be;
}

} // namespace

extern "C" {
extern G_MODULE_EXPORT const LfCudaModule lf_cuda_module;
const LfCudaModule lf_cuda_module = {LF_MODULE_STAMP, open};
}
