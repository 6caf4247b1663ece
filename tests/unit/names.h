/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What other software calls the tensors that have Wan's names. Written down a second time on purpose,
 * by other means than the engine's tables.
 */
#ifndef LF_TESTS_NAMES_H
#define LF_TESTS_NAMES_H

/* Each takes Wan's name. Transfer full. */
char *names_same(const char *wan);
char *names_diffusers(const char *wan);    /* of the transformer */
char *names_hugging_face(const char *wan); /* of the text encoder */
char *names_llama_cpp(const char *wan);    /* of the text encoder */
char *names_diffusers_vae(const char *wan);

#endif
