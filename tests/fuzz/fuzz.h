/*
 * What a fuzz target is: a function that takes any bytes, and must neither crash, leak nor take forever. Each
 * lives in its fuzz_NAME.c with its seeds in corpus/NAME/. `make fuzz` links one at a time with libFuzzer
 * (FUZZ_ENGINE is defined then); test_corpus.c runs all of them over their corpus in every `make check`.
 */
#ifndef REDD_TESTS_FUZZ_H
#define REDD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* X(name) */
#define FUZZ_TARGETS(X)                                                                                      \
	X(pickle)                                                                                            \
	X(torch_file)                                                                                        \
	X(safetensors)                                                                                       \
	X(adapter)                                                                                           \
	X(config)                                                                                            \
	X(tokenizer)                                                                                         \
	X(sentencepiece)                                                                                     \
	X(dataset)

#define X(name) int fuzz_##name(const uint8_t *data, size_t n);
FUZZ_TARGETS(X)
#undef X

#ifdef FUZZ_ENGINE
#define FUZZ_TARGET(name)                                                                                    \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);                                           \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)                                            \
	{                                                                                                    \
		return fuzz_##name(data, n);                                                                 \
	}
#else
#define FUZZ_TARGET(name)
#endif

/* A promise of the code under test that the bytes have broken: ends the program. */
#define FUZZ_MUST(condition)                                                                                 \
	do {                                                                                                 \
		if (!(condition))                                                                            \
			__builtin_trap();                                                                    \
	} while (0)

#endif
