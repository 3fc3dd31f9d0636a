/* Which chat format a model directory has: the table of formats, and telling them apart. See chat.h. */
#include "core/buf.h"
#include "core/mem.h"
#include "worker/text/chat.h"
#include "worker/text/chat_format.h"
#include "worker/text/json_get.h"

#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)16 << 20)

/* ChatML, alike but for the system message that Qwen's models put where there is none. */
#define CHATML(name_, mark, system_)                                                                         \
	{                                                                                                    \
		.name = name_, .marks = {"<|im_start|>", mark}, .default_system = system_,                   \
		.system = {"<|im_start|>system\n", "<|im_end|>\n"},                                          \
		.user = {"<|im_start|>user\n", "<|im_end|>\n"},                                              \
		.assistant = {"<|im_start|>assistant\n", "<|im_end|>"}, .lead = "", .between = "\n",         \
	}

const struct chat_format chat_formats[] = {
        CHATML("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
                "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
        CHATML("qwen2", "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>",
                "You are a helpful assistant."),
        CHATML("chatml", NULL, NULL),
        {
                .name = "llama3",
                .marks = {"<|start_header_id|>", "<|eot_id|>"},
                .bos = "<|begin_of_text|>",
                .trim = true,
                .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
                .lead = "",
                .between = "",
        },
        {
                .name = "llama2",
                .marks = {"[INST]", "<<SYS>>"},
                .bos = "<s>",
                .bos_again = true,
                .trim = true,
                .system_within_user = true,
                .system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
                .user = {"[INST] ", " [/INST]"},
                .assistant = {"", " " CHAT_EOS},
                .lead = " ",
                .between = "",
        },
        {
                .name = "mistral",
                .marks = {"[INST]", "[/INST]"},
                .bos = "<s>",
                .user = {"[INST] ", " [/INST]"},
                .assistant = {"", CHAT_EOS},
                .lead = "",
                .between = "",
        },
        {
                .name = "gemma",
                .marks = {"<start_of_turn>", "<end_of_turn>"},
                .bos = "<bos>",
                .trim = true,
                .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
                .assistant = {"<start_of_turn>model\n", "<end_of_turn>"},
                .lead = "",
                .between = "\n",
        },
        {
                .name = "phi3",
                .marks = {"<|assistant|>", "<|end|>"},
                .system = {"<|system|>\n", "<|end|>\n"},
                .user = {"<|user|>\n", "<|end|>\n"},
                .assistant = {"<|assistant|>\n", "<|end|>"},
                .lead = "",
                .between = "\n",
        },
        {
                .name = "zephyr",
                .marks = {"<|user|>", "<|assistant|>"},
                .system = {"<|system|>\n", CHAT_EOS "\n"},
                .user = {"<|user|>\n", CHAT_EOS "\n"},
                .assistant = {"<|assistant|>\n", CHAT_EOS},
                .lead = "",
                .between = "\n",
        },
        {
                .name = "plain",
                .system = {"", "\n\n"},
                .user = {"Human: ", "\n\n"},
                .assistant = {"Assistant: ", NULL},
                .lead = "",
                .between = "\n\n",
        },
};
const size_t n_chat_formats = sizeof(chat_formats) / sizeof(chat_formats[0]);

const struct chat_format *chat_format_plain(void)
{
	return &chat_formats[n_chat_formats - 1];
}

const char *chat_format_name(const struct chat_format *f)
{
	return f->name;
}

/* The template among those of tokenizer_config.json: a string, or a list of which the one named "default", or
 * else the first, is for chat. NULL = none. */
static enum err config_template(const json_t *config, const char **out, struct why *why)
{
	const json_t *t = json_get_any(config, "chat_template"), *item;
	struct json_text name, text;
	size_t i;
	enum err e;

	*out = json_string_value(t);
	if (!t || *out)
		return OK;
	if (!json_is_array(t))
		return why_set(why, ERR_FORMAT, "\"chat_template\" is neither a string nor a list");
	json_array_foreach (t, i, item) {
		e = json_get_text(item, "name", &name, why);
		if (!e)
			e = json_get_text(item, "template", &text, why);
		if (e) {
			why_prefix(why, "\"chat_template\"[%zu]: ", i);
			return e;
		}
		if (i == 0 || strcmp(name.p, "default") == 0)
			*out = text.p;
	}
	return OK;
}

static enum err recognise(const char *template, const struct chat_format **out, struct why *why)
{
	if (!template || !*template) {
		*out = &chat_formats[n_chat_formats - 1];
		return OK;
	}
	for (size_t i = 0; i + 1 < n_chat_formats; i++) {
		const struct chat_format *f = &chat_formats[i];

		if (strstr(template, f->marks[0]) && (!f->marks[1] || strstr(template, f->marks[1]))) {
			*out = f;
			return OK;
		}
	}
	return why_set(why, ERR_UNSUPPORTED,
	        "a chat template of unknown form; known are ChatML, Llama 2, Llama 3, Mistral, Gemma, Phi-3, "
	        "Zephyr");
}

static enum err detect_config(const char *text, size_t n, const struct chat_format **out, struct why *why)
{
	const char *template = NULL;
	json_error_t error = {0};
	/* "model_max_length" is 1e30, written out. */
	json_t *root = json_loadb(text, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
	enum err e;

	if (!root && json_out_of_memory(&error))
		return why_set(why, ERR_MEM, "%s", err_text(ERR_MEM));
	if (!root)
		return why_set(why, ERR_FORMAT, "not JSON: %s (line %d, column %d)", error.text, error.line,
		        error.column);
	if (json_is_object(root))
		e = config_template(root, &template, why);
	else
		e = why_set(why, ERR_FORMAT, "not a JSON object");
	if (!e)
		e = recognise(template, out, why);
	json_decref(root);
	return e;
}

/* *found = whether DIR/name is there; if so, it has decided. */
static enum err detect_file(
        const char *dir, const char *name, bool *found, const struct chat_format **out, struct why *why)
{
	char *path = mem_printf("%s/%s", dir, name);
	struct buf text = {0};
	enum err e;

	if (!path)
		return why_set(why, ERR_MEM, "%s", err_text(ERR_MEM));
	e = buf_read_file(&text, path, CONFIG_MAX_BYTES);
	*found = e != ERR_NOT_FOUND;
	if (e)
		why_set(why, e, "%s", err_text(e));
	else if (strcmp(name, "chat_template.jinja") == 0)
		e = recognise(text.data, out, why);
	else
		e = detect_config(text.data ? text.data : "", text.len, out, why);
	if (e)
		why_prefix(why, "%s: ", path);
	buf_fini(&text);
	mem_free(path);
	return e;
}

enum err chat_format_detect(const char *dir, const struct chat_format **out, struct why *why)
{
	bool found;
	enum err e = detect_file(dir, "chat_template.jinja", &found, out, why);

	if (!found)
		e = detect_file(dir, "tokenizer_config.json", &found, out, why);
	return found ? e : recognise(NULL, out, why);
}
