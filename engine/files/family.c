/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "family.h"

#include <string.h>

/* clang-format off */
#define FOUR  {4, {1000, 750, 500, 250}}
#define TWO   {2, {1000, 500}}
#define ONE   {1, {1000}}
#define FIVE  {5, {1000, 800, 600, 400, 200}}
/* Flow times 1600/1601, 15/16, 5/6, 5/8; for two steps the third of them follows the first, or with
 * noisy context the fourth. */
#define RCM_START       (1600e3 / 1601)
#define RCM_4           {4, {RCM_START, 937.5, 2500.0 / 3, 625}}
#define RCM_2           {2, {RCM_START, 2500.0 / 3}}
#define RCM_2_NOISY     {2, {RCM_START, 625}}
#define RCM_1           {1, {RCM_START}}
/* clang-format on */

#define APACHE "Apache-2.0"

#define RCM_FILE(end) "Causal_rCM_Wan2.1_T2V_1.3B_480p_TF-dCM-init_SF-DMD_" end ".pt"

const LfFamily lf_families[] = {
    {.name = "self-forcing-10s",
     .title = "Self-Forcing, ten seconds",
     .paths = "self_forcing_10s*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .differs = "the attention window that it was trained with is not published",
     .repository = "gdhe17/Self-Forcing",
     .file = "checkpoints/self_forcing_10s.pt",
     .licence = APACHE},
    {.name = "self-forcing",
     .title = "Self-Forcing",
     .paths = "self_forcing_dmd*|self_forcing_sid*|self_forcing_gan*|*self_forcing*|sfwan2.1-t2v-1."
              "3b-diffusers/*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "gdhe17/Self-Forcing",
     .file = "checkpoints/self_forcing_dmd.pt",
     .licence = APACHE},
    {.name = "light-forcing",
     .title = "Light Forcing",
     .paths = "short_video_gen*|*light-forcing*/short*|*lightforcing*t2v*/*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .sparse = true,
     .repository = "mack-williams/Light-Forcing",
     .file = "short_video_gen.pt",
     .licence = APACHE},
    {.name = "light-forcing-long",
     .title = "Light Forcing, long videos",
     .paths = "long_video_gen*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 12,
     .sink = 1,
     .sparse = true,
     .repository = "mack-williams/Light-Forcing",
     .file = "long_video_gen.pt",
     .licence = APACHE},
    {.name = "causal-forcing-2step",
     .title = "Causal Forcing++, frame-wise, two steps",
     .paths = "framewise-2step*|*causal*forcing*2step*",
     .chunk = 1,
     .steps = TWO,
     .first_steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "zhuhz22/Causal-Forcing",
     .file = "causal-forcing++/framewise-2step.pt",
     .licence = APACHE},
    {.name = "causal-forcing-1step",
     .title = "Causal Forcing++, frame-wise, one step",
     .paths = "framewise-1step*|*causal*forcing*1step*",
     .chunk = 1,
     .steps = ONE,
     .first_steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "zhuhz22/Causal-Forcing",
     .file = "causal-forcing++/framewise-1step.pt",
     .licence = APACHE},
    {.name = "causal-forcing-framewise",
     .title = "Causal Forcing, frame-wise",
     .paths = "framewise/causal_forcing*|causal_forcing*framewise*|causal-forcing*framewise*",
     .chunk = 1,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "zhuhz22/Causal-Forcing",
     .file = "framewise/causal_forcing.pt",
     .licence = APACHE},
    {.name = "causal-forcing-long",
     .title = "Causal Forcing, long videos",
     .paths = "chunkwise/longvideo*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .differs = "its authors sample it with a rolling window, in which frames of one pass have "
                "different noise levels",
     .repository = "zhuhz22/Causal-Forcing",
     .file = "chunkwise/longvideo.pt",
     .licence = APACHE},
    {.name = "causal-forcing",
     .title = "Causal Forcing",
     .paths = "causal_forcing*|causal-forcing*|*causal-forcing*/*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .copy = "generator",
     .repository = "zhuhz22/Causal-Forcing",
     .file = "chunkwise/causal_forcing.pt",
     .licence = APACHE},
    {.name = "one-forcing",
     .title = "One-Forcing",
     .paths = "one_forcing*|one-forcing*|oneforcing*/*",
     .chunk = 3,
     .steps = ONE,
     .first_steps = FOUR,
     .shift = 5,
     .window = 21,
     .copy = "generator",
     .repository = "JiaqiFeng/OneForcing",
     .file = "checkpoints/one_forcing.pt",
     .licence = APACHE},
    {.name = "causal-rcm-noisy-context-framewise",
     .title = "Causal-rCM, frame-wise, two steps, noisy context",
     .paths = "causal_rcm*_c1-1*noisy_ctx*",
     .chunk = 1,
     .steps = RCM_2_NOISY,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .differs = "its authors keep the keys and values of the last denoising step as the context; "
                "here a clean pass makes them",
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c1-1_step2_noisy_ctx"),
     .licence = APACHE},
    {.name = "causal-rcm-2step-framewise",
     .title = "Causal-rCM, frame-wise, two steps",
     .paths = "causal_rcm*_c1-1*step2*",
     .chunk = 1,
     .steps = RCM_2,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c1-1_step2"),
     .licence = APACHE},
    {.name = "causal-rcm-1step-framewise",
     .title = "Causal-rCM, frame-wise, one step",
     .paths = "causal_rcm*_c1-1*step1*",
     .chunk = 1,
     .steps = RCM_1,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c1-1_step2"),
     .licence = APACHE},
    {.name = "causal-rcm-framewise",
     .title = "Causal-rCM, frame-wise",
     .paths = "causal_rcm*_c1-1*",
     .chunk = 1,
     .steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c1-1_step4"),
     .licence = APACHE},
    {.name = "causal-rcm-noisy-context",
     .title = "Causal-rCM, two steps, noisy context",
     .paths = "causal_rcm*noisy_ctx*",
     .chunk = 3,
     .steps = RCM_2_NOISY,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .differs = "its authors keep the keys and values of the last denoising step as the context; "
                "here a clean pass makes them",
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c3-3_step2_noisy_ctx"),
     .licence = APACHE},
    {.name = "causal-rcm-2step",
     .title = "Causal-rCM, two steps",
     .paths = "causal_rcm*step2*",
     .chunk = 3,
     .steps = RCM_2,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c3-3_step2"),
     .licence = APACHE},
    {.name = "causal-rcm-1step",
     .title = "Causal-rCM, one step",
     .paths = "causal_rcm*step1*",
     .chunk = 3,
     .steps = RCM_1,
     .first_steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c3-3_step1"),
     .licence = APACHE},
    {.name = "causal-rcm",
     .title = "Causal-rCM",
     .paths = "causal_rcm*|causal-rcm*",
     .chunk = 3,
     .steps = RCM_4,
     .no_warp = true,
     .shift = 1,
     .window = 21,
     .repository = "worstcoder/rcm-Wan",
     .file = RCM_FILE("c3-3_step4"),
     .licence = APACHE},
    {.name = "longlive",
     .title = "LongLive",
     .paths = "longlive_base*|longlive*/*|longlive*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 12,
     .sink = 3,
     .copy = "generator",
     .repository = "Efficient-Large-Model/LongLive-1.3B",
     .file = "models/longlive_base.pt and models/lora.pt",
     .licence = APACHE},
    {.name = "memflow",
     .title = "MemFlow",
     .paths = "memflow*|memflow*/*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 12,
     .sink = 3,
     .differs = "its memory bank is replaced by a sink",
     .copy = "generator",
     .repository = "daydreamlive/MemFlow",
     .file = "its base and LoRA",
     .licence = APACHE},
    {.name = "reward-forcing",
     .title = "Reward Forcing",
     .paths = "rewardforcing*|reward*forcing*|reward-forcing*/*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 9,
     .sink = 3,
     .differs = "its sink is a running average of the frames that left the window; here it is the "
                "first frames",
     .repository = "JaydenLu666/Reward-Forcing-T2V-1.3B",
     .file = "rewardforcing.pt",
     .licence = APACHE},
    {.name = "rolling-forcing",
     .title = "Rolling Forcing",
     .paths = "rolling_forcing*|rollingforcing*/*",
     .chunk = 3,
     .steps = FIVE,
     .shift = 5,
     .window = 27,
     .differs = "its authors sample it with a rolling window, in which frames of one pass have "
                "different noise levels",
     .repository = "TencentARC/RollingForcing",
     .file = "checkpoints/rolling_forcing_dmd.pt",
     .licence = APACHE},
    {.name = "self-gradient-forcing-plus-framewise",
     .title = "Self Gradient Forcing Plus, frame-wise",
     .paths = "self_gradient_forcing_plus*/framewise/*",
     .chunk = 1,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .sink = 4,
     .differs = "its second set of weights, for cached frames, is not used",
     .repository = "ZihanSu/Self_Gradient_Forcing_Plus",
     .file = "framewise",
     .licence = APACHE},
    {.name = "self-gradient-forcing-plus",
     .title = "Self Gradient Forcing Plus",
     .paths = "self_gradient_forcing_plus*/*|self_gradient_forcing_plus*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 12,
     .sink = 3,
     .differs = "its second set of weights, for cached frames, is not used",
     .repository = "ZihanSu/Self_Gradient_Forcing_Plus",
     .file = "chunkwise",
     .licence = APACHE},
    {.name = "self-gradient-forcing-framewise",
     .title = "Self Gradient Forcing, frame-wise",
     .paths = "self_gradient_forcing*/framewise/*|framewise/ar/model*",
     .chunk = 1,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "JunhaoZhuang/Self_Gradient_Forcing",
     .file = "framewise/ar/model.pt",
     .licence = APACHE},
    {.name = "self-gradient-forcing",
     .title = "Self Gradient Forcing",
     .paths = "self_gradient_forcing*/*|chunkwise/ar/model*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .repository = "JunhaoZhuang/Self_Gradient_Forcing",
     .file = "chunkwise/ar/model.pt",
     .licence = APACHE},
    {.name = "infinite-forcing",
     .title = "Infinite-Forcing",
     .paths = "*infinite*forcing*/*|infinite_forcing*",
     .chunk = 3,
     .steps = FOUR,
     .shift = 5,
     .window = 21,
     .differs = "its authors sample it with a rolling window of their own",
     .repository = "SOTAMak1r/Infinite-Forcing",
     .file = "ema_model.pt",
     .licence = APACHE},
    {.name = "causvid",
     .title = "CausVid",
     .paths = "autoregressive_checkpoint/*|causvid*|causvid*/*",
     .chunk = 3,
     .steps = {3, {1000, 757, 522}},
     .no_warp = true,
     .shift = 8,
     .window = 0,
     .copy = "generator",
     .repository = "tianweiy/CausVid",
     .file = "autoregressive_checkpoint/model.pt",
     .licence = "CC-BY-NC"},
    {.name = "streamdiffusion-v2",
     .title = "StreamDiffusionV2",
     .paths = "wan_causal_dmd_v2v*/*|streamdiffusionv2*/*",
     .chunk = 3,
     .steps = FOUR,
     .no_warp = true,
     .shift = 8,
     .window = 6,
     .sink = 3,
     .differs = "it was made to change a given video; from text alone its quality is not known",
     .copy = "generator",
     .repository = "jerryfeng/StreamDiffusionV2",
     .file = "wan_causal_dmd_v2v/model.pt",
     .licence = APACHE},
    {.name = "livewan",
     .title = "LiveWan",
     .paths = "livewan*/*|livewan*|t14b_b64/*",
     .chunk = 3,
     .steps = TWO,
     .shift = 1,
     .window = 6,
     .differs = "its streams begin with 21 given latent frames, which are pinned, and match each "
                "block's moments to them",
     .repository = "JonathanColetti/LiveWan",
     .file = "checkpoints/…/step002250_noema.pt",
     .licence = APACHE},
    {0},
};

const LfFamily *lf_family_named(const char *name)
{
    for (const LfFamily *f = lf_families; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* Whether the last components of `path`, as many as the pattern has, match it. */
static bool ends_like(const char *path, const char *pattern)
{
    const char *end = path + strlen(path);
    for (const char *c = pattern + strlen(pattern); c >= pattern; c--) {
        if (c > pattern && c[-1] != '/')
            continue;
        while (end > path && end[-1] != '/')
            end--;
        if (c == pattern)
            return g_pattern_match_simple(pattern, end);
        if (end == path)
            return false;
        end--;
    }
    return false;
}

static const LfFamily *find(const char *path)
{
    g_autofree char *lower = g_ascii_strdown(path, -1);
    for (const LfFamily *f = lf_families; f->name; f++) {
        g_auto(GStrv) patterns = g_strsplit(f->paths, "|", -1);
        for (char **pattern = patterns; *pattern; pattern++)
            if (ends_like(lower, *pattern))
                return f;
    }
    return NULL;
}

const LfFamily *lf_family_of_path(const char *path)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    const LfFamily *family = find(absolute);
    if (family)
        return family;
    g_autofree char *target = g_file_read_link(absolute, NULL);
    return target ? find(target) : NULL;
}

void lf_family_apply(const LfFamily *family, LfModelConfig *config)
{
    config->family = family;
    g_free(config->copy);
    config->copy = g_strdup(family->copy);
    config->video.chunk = family->chunk;
    config->schedule.steps = family->steps;
    config->schedule.first_steps = family->first_steps;
    config->schedule.warp = !family->no_warp;
    config->schedule.shift = family->shift;
    config->cache.window = family->window;
    config->cache.sink = family->sink;
    config->cache.relative = false;
    config->sparse.given = family->sparse;
}

bool lf_family_refuse(const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (const LfFamily *f = lf_families; f->name; f++)
        g_string_append_printf(known, "%s%s", known->len ? ", " : "", f->name);
    return lf_fail(error, LF_ERROR_CONFIG, "no family \"%s\": there are %s", name, known->str);
}
