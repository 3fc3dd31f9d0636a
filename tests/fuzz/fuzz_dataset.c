/* Any bytes as training data, for the tokenizer and chat format of a golden model. */
#include "tests/fuzz/fuzz.h"
#include "worker/text/dataset.h"

#include <sys/mman.h>
#include <unistd.h>

#define BASE_DIR "tests/goldens/llama3"

int fuzz_dataset(const uint8_t *data, size_t n)
{
	static struct tokenizer *tokenizer; /* opened once: it takes longer than most inputs */
	static const struct chat_format *chat;
	struct dataset_options options = {.context = 160, .max_length = n % 2 ? 32 : 0, .eos_id = 1};
	struct dataset_report report = {0};
	struct dataset d = {0};
	struct why why = {0};
	int fd = memfd_create("rows", MFD_CLOEXEC);
	enum err e;

	FUZZ_MUST(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	if (!tokenizer) {
		FUZZ_MUST(tokenizer_open(BASE_DIR, &tokenizer, NULL) == OK);
		FUZZ_MUST(chat_format_detect(BASE_DIR, &chat, NULL) == OK);
	}
	options.tokenizer = tokenizer;
	options.chat = chat;
	e = dataset_read(fd, &options, &d, &report, &why);
	FUZZ_MUST(e ? e == ERR_MEM || why.message[0] : d.n_rows > 0 && d.longest <= options.context);
	for (size_t i = 0; !e && i < d.n_rows; i++)
		FUZZ_MUST(d.rows[i].offset + d.rows[i].n_tokens <= d.n_tokens);
	dataset_fini(&d);
	dataset_report_fini(&report);
	close(fd);
	return 0;
}

FUZZ_TARGET(dataset)
