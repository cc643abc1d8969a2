/*
 * Key maps are read and applied to two inputs with the names of the built-in maps. The names of the result are unique, or it is
 * refused when it is sealed.
 */
#include "fuzz.h"

#include "model/config.h"
#include "plan/keymap.h"

static const char header[] = "{\"stem.0.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
			     "\"downsample_layers.0.0.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
			     "\"stages.0.1.dwconv.weight\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
			     "\"stages.2.blocks.0.conv_dw.bias\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]},"
			     "\"blocks.0.attn.qkv.weight\":{\"dtype\":\"U8\",\"shape\":[1,1],\"data_offsets\":[5,6]},"
			     "\"blocks.2.mlp.fc1.bias\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[6,7]},"
			     "\"freqs\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[7,8]},"
			     "\"cls_token\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]},"
			     "\"head.fc.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}";

static const char description[] = "state_dict:\n"
				  "- {name: stem.0.weight, shape: [1]}\n"
				  "- {name: stages.2.0.attn.freqs, shape: [1]}\n"
				  "- {name: stages.2.0.attn.qkv.weight, shape: [1, 1]}\n"
				  "- {name: stages.3.1.mlp.fc1.bias, shape: [1]}\n"
				  "- {name: cls_token_1, shape: [2]}\n";

static const char experiment[] = "MODEL: {ROPE_STAGES: {DEPTHS: [1, 3], ROPE_MIXED: true}, NAME: x}\n";

static struct model model;
static struct config config;
static uint8_t bytes[8 + sizeof(header) - 1 + 10] = { (uint8_t)((sizeof(header) - 1) & 255), (sizeof(header) - 1) >> 8 };

static void
once(void)
{
	struct source *src = source_memory(experiment, sizeof(experiment) - 1, "exp.yaml");
	struct err err = ERR_INIT;

	memcpy(bytes + 8, header, sizeof(header) - 1);
	model_init(&model);
	config_init(&config);
	promise(model_load_yaml(&model, "m.yaml", str_c(description), &err) == 0, "the description loads");
	promise(config_load(&config, src, NULL, &err) == 0, "the experiment loads");
	source_close(src);
}

static void
apply(const uint8_t *data, size_t size, bool both)
{
	struct keymap *k = NULL;
	struct source *src = source_memory(bytes, sizeof(bytes), "input");
	struct keymap_env env = { both ? &config : NULL, both ? &model : NULL };
	struct ckpt *c = NULL;
	struct statedict sd;
	struct err err = ERR_INIT;
	struct plan p;
	size_t n;
	int rc = keymap_load(&k, "fuzz.yaml", str_n((const char *)data, size), &err);

	fuzz_judge(rc, &err);
	if (rc < 0) {
		source_close(src);
		return;
	}
	n = keymap_head(k)->ninputs;
	promise(format_open(&c, src, NULL, &err) == 0 && statedict_open(&sd, c, NULL, &err) == 0, "the input opens");
	plan_init(&p, NULL);
	plan_add_input(&p, &sd, n > 0 ? "convnext" : NULL);
	if (both)
		plan_add_input(&p, &sd, n > 1 ? "ropevit" : NULL);
	fuzz_judge(keymap_apply(k, &p, &env, &err), &err);
	for (size_t i = 0; i < p.nentries; i++)
		promise(p.entries[i].origin < p.norigins, "every entry has an origin");
	keymap_free(k);
	plan_release(&p);
	statedict_release(&sd);
	ckpt_close(c);
	source_close(src);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (bytes[8] == 0)
		once();
	apply(data, size, true);
	apply(data, size, false);
	return 0;
}
