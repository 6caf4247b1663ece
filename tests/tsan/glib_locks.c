/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tells ThreadSanitizer about GLib's locks, pools and queues. GLib is not built with it and makes
 * its locks of futexes, so that every access under a GMutex would count as a race. Preloaded, these
 * functions stand before GLib's own, for us and for GStreamer's libraries, call them, and announce
 * what they do.
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

/* GLib's own function of this name. */
#define REAL(name) ((__typeof__(&name)) real(&name##_address, #name))

static void *real(void **address, const char *name)
{
    void *found = __atomic_load_n(address, __ATOMIC_RELAXED);
    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        __atomic_store_n(address, found, __ATOMIC_RELAXED);
    }
    return found;
}

#define EXPORTED   __attribute__((visibility("default")))
#define LOCK_FLAGS __tsan_mutex_linker_init

#define LOCK(type, name, flags)                                                                    \
    static void *name##_address;                                                                   \
    EXPORTED void(name)(type * lock)                                                               \
    {                                                                                              \
        __tsan_mutex_pre_lock(lock, flags);                                                        \
        REAL(name)(lock);                                                                          \
        __tsan_mutex_post_lock(lock, flags, 0);                                                    \
    }

#define TRY_LOCK(type, name, flags)                                                                \
    static void *name##_address;                                                                   \
    EXPORTED gboolean(name)(type * lock)                                                           \
    {                                                                                              \
        __tsan_mutex_pre_lock(lock, flags | __tsan_mutex_try_lock);                                \
        gboolean locked = REAL(name)(lock);                                                        \
        __tsan_mutex_post_lock(                                                                    \
            lock, flags | (locked ? __tsan_mutex_try_lock : __tsan_mutex_try_lock_failed), 0);     \
        return locked;                                                                             \
    }

#define UNLOCK(type, name, flags)                                                                  \
    static void *name##_address;                                                                   \
    EXPORTED void(name)(type * lock)                                                               \
    {                                                                                              \
        __tsan_mutex_pre_unlock(lock, flags);                                                      \
        REAL(name)(lock);                                                                          \
        __tsan_mutex_post_unlock(lock, flags);                                                     \
    }

#define CLEAR(type, name)                                                                          \
    static void *name##_address;                                                                   \
    EXPORTED void(name)(type * lock)                                                               \
    {                                                                                              \
        REAL(name)(lock);                                                                          \
        __tsan_mutex_destroy(lock, LOCK_FLAGS);                                                    \
    }

LOCK(GMutex, g_mutex_lock, LOCK_FLAGS)
TRY_LOCK(GMutex, g_mutex_trylock, LOCK_FLAGS)
UNLOCK(GMutex, g_mutex_unlock, LOCK_FLAGS)
CLEAR(GMutex, g_mutex_clear)

#define RECURSIVE (LOCK_FLAGS | __tsan_mutex_write_reentrant)
LOCK(GRecMutex, g_rec_mutex_lock, RECURSIVE)
TRY_LOCK(GRecMutex, g_rec_mutex_trylock, RECURSIVE)
UNLOCK(GRecMutex, g_rec_mutex_unlock, RECURSIVE)
CLEAR(GRecMutex, g_rec_mutex_clear)

/* A wait gives the lock up and takes it again inside GLib, where the functions above are not
 * seen. */
static void *g_cond_wait_address, *g_cond_wait_until_address;

static void leave(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, LOCK_FLAGS);
    __tsan_mutex_post_unlock(mutex, LOCK_FLAGS);
}

static void come_back(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, LOCK_FLAGS);
    __tsan_mutex_post_lock(mutex, LOCK_FLAGS, 0);
}

EXPORTED void(g_cond_wait)(GCond *cond, GMutex *mutex)
{
    leave(mutex);
    REAL(g_cond_wait)(cond, mutex);
    come_back(mutex);
}

EXPORTED gboolean(g_cond_wait_until)(GCond *cond, GMutex *mutex, gint64 end_time)
{
    leave(mutex);
    gboolean signalled = REAL(g_cond_wait_until)(cond, mutex, end_time);
    come_back(mutex);
    return signalled;
}

/* Work that is pushed to a pool of threads, as GStreamer starts its streaming threads, begins after
 * what the pusher has done before. */
typedef struct {
    GFunc run;
    gpointer data;
} Work;

static void run_work(gpointer item, gpointer data)
{
    Work *work = data;
    __tsan_acquire(work);
    work->run(item, work->data);
}

static void *g_thread_pool_new_address, *g_thread_pool_push_address;

EXPORTED GThreadPool *(g_thread_pool_new) (GFunc run, gpointer data, gint max_threads,
                                           gboolean exclusive, GError **error)
{
    Work *work = g_new(Work, 1); /* lives as long as the program */
    *work = (Work){run, data};
    return REAL(g_thread_pool_new)(run_work, work, max_threads, exclusive, error);
}

EXPORTED gboolean(g_thread_pool_push)(GThreadPool *pool, gpointer item, GError **error)
{
    if (pool->func == run_work)
        __tsan_release(pool->user_data);
    return REAL(g_thread_pool_push)(pool, item, error);
}

/* What comes out of a queue comes after what its sender did before. GstHarness hands buffers on
 * through such queues. */
static void *g_async_queue_push_address, *g_async_queue_pop_address, *g_async_queue_try_pop_address,
    *g_async_queue_timeout_pop_address;

EXPORTED void(g_async_queue_push)(GAsyncQueue *queue, gpointer data)
{
    __tsan_release(queue);
    REAL(g_async_queue_push)(queue, data);
}

EXPORTED gpointer(g_async_queue_pop)(GAsyncQueue *queue)
{
    gpointer data = REAL(g_async_queue_pop)(queue);
    __tsan_acquire(queue);
    return data;
}

EXPORTED gpointer(g_async_queue_try_pop)(GAsyncQueue *queue)
{
    gpointer data = REAL(g_async_queue_try_pop)(queue);
    __tsan_acquire(queue);
    return data;
}

EXPORTED gpointer(g_async_queue_timeout_pop)(GAsyncQueue *queue, guint64 timeout)
{
    gpointer data = REAL(g_async_queue_timeout_pop)(queue, timeout);
    __tsan_acquire(queue);
    return data;
}
