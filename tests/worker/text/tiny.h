/* A tokenizer.json small enough to read, for tests. */
#ifndef REDD_TESTS_TEXT_TINY_H
#define REDD_TESTS_TEXT_TINY_H

#define MARK "\xe2\x96\x81" /* U+2581 */

/* Vocabulary a b c d ab abc abcd (0 to 6), U+2581 7, U+2581 a 8, <unk> 9, A 10; merges a+b, ab+c, abc+d,
 * U+2581+a. model and parts are JSON members put before those, each followed by a comma. */
#define TINY(model, parts)                                                                                   \
	"{" parts "\"model\":{\"type\":\"BPE\"," model                                                       \
	"\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"ab\":4,\"abc\":5,\"abcd\":6,\"" MARK "\":7,\"" MARK    \
	"a\":8,\"<unk>\":9,\"A\":10},\"merges\":[[\"a\",\"b\"],\"ab c\",[\"abc\",\"d\"],\"" MARK " a\"]}}"

/* A member of "added_tokens"; flags are further members, each after a comma. */
#define ADDED(id, content, flags) "{\"id\":" #id ",\"content\":\"" content "\"" flags "}"

#endif
