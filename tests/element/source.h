/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * lightforcingsrc in a GstHarness, with a tiny model and a bus, for the tests of this folder.
 */
#ifndef TESTS_ELEMENT_SOURCE_H
#define TESTS_ELEMENT_SOURCE_H

#include <gst/check/gstharness.h>
#include <gst/gst.h>
#include <gst/video/video.h>

typedef struct {
    GstElement *element;
    GstHarness *harness;
    GstBus *bus;

    GMutex lock; /* guards all that follows */
    GCond changed;
    guint64 held_chunk; /* of source_hold; G_MAXUINT64: none */
    gboolean held;      /* the worker waits */
    guint max_level;    /* the largest queue-level of a chunk message */
} Source;

#define FRAME_DURATION (GST_SECOND / 16) /* of the tiny and the demo model */
#define FIRST_CHUNK    9                 /* frames; later ones have 12 */

/* Initialises GLib's test program and GStreamer, makes the tiny model. Then g_test_add_func, then
 * `return tests_run();`. It fails, too, when a model is still in memory at the end: whoever leaks a
 * chunk, a session or a model keeps one alive. */
void tests_init(int *argc, char ***argv);
int tests_run(void);

const char *tiny_model(void);
const char *demo_model(void);

/* An element with seed 1, the tiny model, a prompt, and these properties. The source is in NULL. */
Source *source_new(const char *first_property, ...);
void source_free(Source *source);

/* Sets the state and waits until it is reached, at most a minute. */
void source_set_state(Source *source, GstState state);

/* A source that plays, for a sink with these caps (NULL: any). It waits for each of its frames to
 * be pulled; until source_free, its state can then not be lowered. */
Source *source_play(const char *caps, const char *first_property, ...);

/* The next frame, within a minute; the test fails if there is none. */
GstBuffer *source_pull(Source *source);
void source_skip(Source *source, guint n_frames);

/* Stops the generator's worker as it reports the chunk `chunk` or a later one, before that chunk
 * can be played; a worker that is held at an earlier one goes on until then. To be called before
 * this chunk is generated. source_release lets the worker go on for good. */
void source_hold(Source *source, guint64 chunk);
void source_release(Source *source);
/* Waits until the worker is held. */
void source_wait_held(Source *source);

/* A count or time in the statistics. */
guint64 source_stat(Source *source, const char *field);

/* Bytes of the next frame. */
GBytes *source_pull_bytes(Source *source);

/* The next message of the types, within a minute or NULL. Others before it are dropped, and so is
 * the warning of a machine without GPU that the CPU computes. */
GstMessage *source_message(Source *source, GstMessageType types);

/* The message is an error (or warning) of this domain and code, with `part` in its text. Takes the
 * message. */
void source_check(GstMessage *message, GstMessageType type, GQuark domain, gint code,
                  const char *part);
/* The next error or warning is that. */
void source_expect(Source *source, GstMessageType type, GQuark domain, gint code, const char *part);
/* The next progress message that is not CONTINUE (or, for CONTINUE, the next one) has this type. */
void source_expect_progress(Source *source, GstProgressType type);

/* The next message `lightforcing-prompt`. */
GstMessage *source_prompt_message(Source *source);

#endif
