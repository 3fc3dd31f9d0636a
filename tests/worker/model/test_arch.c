/*
 * config.json: both spellings, every refusal with its field, and the trainable numbers the paper reports,
 * from configurations alone.
 */
#include "core/mem.h"
#include "worker/model/arch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LLAMA_SHAPE                                                                                          \
	"\"model_type\":\"llama\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"     \
	"\"intermediate_size\":128,\"vocab_size\":100"

#define MISTRAL_SHAPE                                                                                        \
	"\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":128,"    \
	"\"vocab_size\":100"

static size_t trainable(const char *config)
{
	struct adapter_spec spec;
	struct adapter_layout *layout;
	struct site *sites;
	size_t n_sites, n;

	adapter_spec_default(&spec);
	assert_int_equal(model_config_sites(config, &sites, &n_sites, NULL), OK);
	assert_int_equal(adapter_layout_new(&spec, sites, n_sites, &layout, NULL), OK);
	n = adapter_layout_n_params(layout);
	adapter_layout_free(layout);
	mem_free(sites);
	return n;
}

static void test_trainable_numbers_are_the_papers(void **state)
{
	(void)state;
	/* RoBERTa base 0.02 M and large 0.05 M, T5 base 0.04 M; the base's sizes are the defaults. */
	assert_int_equal(trainable("{\"model_type\":\"roberta\"}"), 18432);
	assert_int_equal(
	        trainable("{\"model_type\":\"roberta\",\"hidden_size\":1024,\"num_hidden_layers\":24,"
	                  "\"num_attention_heads\":16,\"intermediate_size\":4096}"),
	        49152);
	assert_int_equal(trainable("{\"model_type\":\"t5\",\"d_model\":768,\"d_ff\":3072,\"num_layers\":12,"
	                           "\"num_heads\":12}"),
	        36864);
	/* GPT-2 medium 0.05 M, GPT-2 large 0.09 M, LLaMA-2-7B 0.26 M. */
	assert_int_equal(trainable("{\"model_type\":\"gpt2\",\"n_embd\":1024,\"n_layer\":24,\"n_head\":16,"
	                           "\"vocab_size\":50257}"),
	        49152);
	assert_int_equal(trainable("{\"model_type\":\"gpt2\",\"n_embd\":1280,\"n_layer\":36,\"n_head\":20,"
	                           "\"vocab_size\":50257}"),
	        92160);
	assert_int_equal(
	        trainable("{\"model_type\":\"llama\",\"hidden_size\":4096,\"num_hidden_layers\":32,"
	                  "\"num_attention_heads\":32,\"num_key_value_heads\":32,\"intermediate_size\":11008,"
	                  "\"vocab_size\":32000,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":4096}"),
	        262144);
}

static void test_sites_carry_hugging_face_names(void **state)
{
	struct site *sites;
	size_t n;

	(void)state;
	assert_int_equal(model_config_sites("{" LLAMA_SHAPE ",\"num_key_value_heads\":2,\"head_dim\":24}",
	                         &sites, &n, NULL),
	        OK);
	assert_int_equal(n, 14);
	assert_string_equal(sites[0].name, "model.layers.0.self_attn.q_proj");
	assert_int_equal(sites[0].width, 96);
	assert_string_equal(sites[1].name, "model.layers.0.self_attn.k_proj");
	assert_int_equal(sites[1].width, 48);
	assert_string_equal(sites[12].name, "model.layers.1.mlp.down_proj");
	assert_int_equal(sites[12].width, 64);
	assert_int_equal(sites[12].layer, 1);
	assert_int_equal(sites[12].position, POSITION_FFN);
	assert_string_equal(sites[13].name, "model.layers.1");
	assert_int_equal(sites[13].position, POSITION_FFN_RES);
	mem_free(sites);
	assert_int_equal(model_config_sites("{\"model_type\":\"gpt2\"}", &sites, &n, NULL), OK);
	assert_int_equal(n, 60);
	assert_string_equal(sites[0].name, "transformer.h.0.attn.c_attn");
	assert_int_equal(sites[0].width, 3 * 768);
	mem_free(sites);
	assert_int_equal(model_config_sites("{\"model_type\":\"roberta\"}", &sites, &n, NULL), OK);
	assert_string_equal(sites[4].name, "encoder.layer.0.attention.output");
	assert_string_equal(sites[6].name, "encoder.layer.0.output");
	mem_free(sites);
	assert_int_equal(
	        model_config_sites("{\"model_type\":\"t5\",\"num_layers\":1}", &sites, &n, NULL), OK);
	assert_string_equal(sites[6].name, "encoder.block.0.layer.1");
	assert_string_equal(sites[16].name, "decoder.block.0.layer.1");
	assert_int_equal(sites[16].position, POSITION_ATTN_RES);
	mem_free(sites);
}

static struct arch parse(const char *config)
{
	struct arch a;
	struct why why = {0};

	if (arch_parse(config, &a, &why))
		fail_msg("%s: %s", config, why.message);
	return a;
}

static void test_both_spellings_of_rope_are_read(void **state)
{
	struct arch a;

	(void)state;
	a = parse("{" LLAMA_SHAPE "}");
	assert_true(a.rope.theta == 10000 && a.rope.scaling == ROPE_DEFAULT);
	a = parse(
	        "{" LLAMA_SHAPE ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}");
	assert_true(a.rope.theta == 5e5 && a.rope.scaling == ROPE_LINEAR && a.rope.factor == 4);
	a = parse("{" LLAMA_SHAPE
	          ",\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":5e5,\"factor\":4}}");
	assert_true(a.rope.theta == 5e5 && a.rope.scaling == ROPE_LINEAR && a.rope.factor == 4);
	a = parse(
	        "{" LLAMA_SHAPE ",\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
	        "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}");
	assert_true(a.rope.scaling == ROPE_LLAMA3 && a.rope.original_max_positions == 8192);
	a = parse("{" LLAMA_SHAPE ",\"rope_scaling\":null,\"rope_parameters\":null,\"head_dim\":null}");
	assert_true(a.rope.scaling == ROPE_DEFAULT && a.head_dim == 16);
}

static void test_end_of_text_ids_are_a_union(void **state)
{
	struct arch a = parse("{" LLAMA_SHAPE ",\"eos_token_id\":[2,3],\"bos_token_id\":1}");

	(void)state;
	assert_int_equal(a.bos_id, 1);
	assert_int_equal(a.n_eos, 2);
	assert_int_equal(arch_parse_generation("{\"eos_token_id\":[3,7]}", &a, NULL), OK);
	assert_int_equal(a.n_eos, 3);
	assert_int_equal(a.eos_ids[2], 7);
	assert_int_equal(arch_parse_generation("{\"eos_token_id\":100}", &a, NULL), ERR_FORMAT);
	assert_int_equal(a.n_eos, 3);
}

static void test_bad_configs_name_the_field(void **state)
{
	static const struct {
		const char *config, *param;
		enum err err;
	} cases[] = {
	        {"{}", "model_type", ERR_FORMAT},
	        {"[]", "", ERR_FORMAT},
	        {"{", "", ERR_FORMAT},
	        {"{\"model_type\":\"mamba\"}", "model_type", ERR_UNSUPPORTED},
	        {"{\"model_type\":\"llama\"}", "hidden_size", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"n_embd\":\"wide\"}", "n_embd", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"n_embd\":-4}", "n_embd", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"n_embd\":1e99}", "n_embd", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"n_embd\":770}", "n_head", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"add_cross_attention\":true}", "add_cross_attention",
	                ERR_UNSUPPORTED},
	        {"{\"model_type\":\"gpt2\",\"activation_function\":\"mish\"}", "activation_function",
	                ERR_UNSUPPORTED},
	        {"{\"model_type\":\"gpt2\",\"layer_norm_epsilon\":0}", "layer_norm_epsilon", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"eos_token_id\":50257}", "eos_token_id", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"bos_token_id\":true}", "bos_token_id", ERR_FORMAT},
	        {"{\"model_type\":\"gpt2\",\"quantization_config\":{}}", "quantization_config",
	                ERR_UNSUPPORTED},
	        {"{" LLAMA_SHAPE ",\"num_key_value_heads\":3}", "", ERR_FORMAT},
	        {"{" LLAMA_SHAPE ",\"head_dim\":5}", "", ERR_FORMAT},
	        {"{" LLAMA_SHAPE ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}}", "rope_type",
	                ERR_UNSUPPORTED},
	        {"{" LLAMA_SHAPE ",\"rope_scaling\":{\"type\":\"linear\"}}", "factor", ERR_FORMAT},
	        {"{" LLAMA_SHAPE ",\"rope_scaling\":7}", "rope_scaling", ERR_FORMAT},
	        {"{" LLAMA_SHAPE ",\"partial_rotary_factor\":0.5}", "partial_rotary_factor", ERR_UNSUPPORTED},
	        {"{" LLAMA_SHAPE ",\"mlp_bias\":\"yes\"}", "mlp_bias", ERR_FORMAT},
	        {"{\"model_type\":\"mistral\"," MISTRAL_SHAPE ",\"sliding_window\":0}", "sliding_window",
	                ERR_FORMAT},
	        {"{\"model_type\":\"qwen2\"," MISTRAL_SHAPE ",\"use_sliding_window\":1}",
	                "use_sliding_window", ERR_FORMAT},
	        {"{\"model_type\":\"qwen2\"," MISTRAL_SHAPE ",\"use_sliding_window\":true,\"layer_types\":"
	         "[\"sliding_attention\",\"full_attention\"]}",
	                "layer_types", ERR_UNSUPPORTED},
	        {"{\"model_type\":\"bert\",\"position_embedding_type\":\"relative_key\"}",
	                "position_embedding_type", ERR_UNSUPPORTED},
	        {"{\"model_type\":\"bert\",\"is_decoder\":true}", "is_decoder", ERR_UNSUPPORTED},
	        {"{\"model_type\":\"bert\",\"hidden_size\":770}", "num_attention_heads", ERR_FORMAT},
	        {"{\"model_type\":\"roberta\",\"max_position_embeddings\":2}", "max_position_embeddings",
	                ERR_FORMAT},
	        {"{\"model_type\":\"roberta\",\"pad_token_id\":60000}", "pad_token_id", ERR_FORMAT},
	        {"{\"model_type\":\"t5\",\"feed_forward_proj\":\"gated-mish\"}", "feed_forward_proj",
	                ERR_UNSUPPORTED},
	        {"{\"model_type\":\"t5\",\"feed_forward_proj\":3}", "feed_forward_proj", ERR_FORMAT},
	        {"{\"model_type\":\"t5\",\"relative_attention_num_buckets\":2}",
	                "relative_attention_num_buckets", ERR_FORMAT},
	        {"{\"model_type\":\"t5\",\"relative_attention_max_distance\":16}",
	                "relative_attention_max_distance", ERR_FORMAT},
	        {"{\"model_type\":\"t5\",\"num_decoder_layers\":0}", "num_decoder_layers", ERR_FORMAT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arch a;
		struct why why = {0};
		enum err e = arch_parse(cases[i].config, &a, &why);

		if (e != cases[i].err || strcmp(why.param, cases[i].param) || !*why.message)
			fail_msg("%s gave %s, param \"%s\": %s", cases[i].config, err_name(e), why.param,
			        why.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_trainable_numbers_are_the_papers),
	        cmocka_unit_test(test_sites_carry_hugging_face_names),
	        cmocka_unit_test(test_both_spellings_of_rope_are_read),
	        cmocka_unit_test(test_end_of_text_ids_are_a_union),
	        cmocka_unit_test(test_bad_configs_name_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
