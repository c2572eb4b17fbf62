/* SPDX-License-Identifier: Apache-2.0 */
/* The APIs of others, without sockets: what a request's options become, replies and errors, field by field. */
#include "handling.h"

static void openai_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"a text", "/v1/embeddings", J({"input" : "a", "model" : "any"}), 200, LIST_OF_ONE, "- right yes 0 0"},
        {"token ids", "/v1/embeddings", J({"input" : [ 5, 6, 7 ]}), 200, LIST_OF_ONE, NULL},
        {"dimensions", "/embeddings", J({"input" : ["a"], "dimensions" : 4, "user" : "u"}), 200, LIST_OF_ONE,
         "- right yes 4 0"},
        {"base64", "/v1/embeddings", J({"input" : [ [5], [ 6, 7 ] ], "encoding_format" : "base64"}), 200, J({
             "object" : "list",
             "data" : [
                 {"object" : "embedding", "index" : 0, "embedding" : "AACAPwAAAD8AAIC+AAAAAA=="},
                 {"object" : "embedding", "index" : 1, "embedding" : "AACAPwAAAD8AAIC+AAAAAA=="}
             ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 6, "total_tokens" : 6}
         }),
         NULL},
        {"nothing", "/v1/embeddings", J({"model" : "m"}), 400, OPENAI_ERROR("input: is missing", "\"input\""), NULL},
        {"no inputs", "/v1/embeddings", J({"input" : []}), 400,
         OPENAI_ERROR("'input' is an empty list. It must hold at least one text or list of tokens.", "\"input\""),
         NULL},
        {"an empty text", "/v1/embeddings", J({"input" : [ "a", "" ]}), 400,
         OPENAI_ERROR("'input' holds an empty text or list of tokens, which has no embedding.", "\"input[1]\""), NULL},
        {"an empty text alone", "/v1/embeddings", J({"input" : ""}), 400,
         OPENAI_ERROR("'input' holds an empty text or list of tokens, which has no embedding.", "\"input\""), NULL},
        {"dimensions 0: all, as Infinity's clients say", "/v1/embeddings", J({"input" : "a", "dimensions" : 0}), 200,
         LIST_OF_ONE, "- right yes 0 0"},
        {"dimensions -1", "/v1/embeddings", J({"input" : "a", "dimensions" : -1}), 400,
         OPENAI_ERROR("Invalid value for 'dimensions' = -1. Must be greater than or equal to 1.", "\"dimensions\""),
         NULL},
        {"vLLM's words for a limit", "/v1/embeddings",
         J({"input" : "a", "truncate_prompt_tokens" : 5, "truncation_side" : "left"}), 200, LIST_OF_ONE,
         "- left yes 0 5"},
        {"the model's limit", "/v1/embeddings", J({"input" : "a", "truncate_prompt_tokens" : -1}), 200, LIST_OF_ONE,
         "- right yes 0 0"},
        {"more than the model's limit", "/v1/embeddings", J({"input" : "a", "truncate_prompt_tokens" : 999}), 200,
         LIST_OF_ONE, "- right yes 0 0"},
        {"what is so anyway", "/v1/embeddings", J({
             "input" : "a",
             "modality" : "text",
             "add_special_tokens" : true,
             "embed_dtype" : "float32",
             "endianness" : "native"
         }),
         200, LIST_OF_ONE, "- right yes 0 0"},
        {"dimensions 9", "/v1/embeddings", J({"input" : "a", "dimensions" : 9}), 400,
         OPENAI_ERROR("Invalid value for 'dimensions' = 9. Must be less than or equal to 8.", "\"dimensions\""), NULL},
        {"too many", "/v1/embeddings", J({"input" : [ "a", "b", "c", "d", "e" ]}), 400,
         OPENAI_ERROR("5 inputs; at most 4 go into one request", "null"), NULL},
    };
    PLAY(*state, cases, 1);
}

static void tei_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"a text", "/embed", J({"inputs" : "a"}), 200, J([[ 1, 0.5, -0.25, 0 ]]), "- right yes 0 0"},
        {"the bare URL", "/", J({"inputs" : "a", "truncate" : null, "dimensions" : null, "prompt_name" : null}), 200,
         J([[ 1, 0.5, -0.25, 0 ]]), "- right yes 0 0"},
        {"ids and texts", "/embed", J({"inputs" : [ "a", [ 5, 6 ] ], "normalize" : false, "dimensions" : 4}), 200,
         J([ [ 1, 0.5, -0.25, 0 ], [ 1, 0.5, -0.25, 0 ] ]), "- right no 4 0"},
        {"options", "/embed",
         J({"inputs" : "a", "truncate" : true, "truncation_direction" : "Left", "prompt_name" : "query"}), 200,
         J([[ 1, 0.5, -0.25, 0 ]]), "query left yes 0 0"},
        {"not truncated", "/embed", J({"inputs" : "a", "truncate" : false, "truncation_direction" : "left"}), 200,
         J([[ 1, 0.5, -0.25, 0 ]]), "- error yes 0 0"},
        {"tokens", "/embed_all", J({"inputs" : ["a"]}), 200, J([[[ 1, 0.5, -0.25, 0 ]]]), "- right no 0 0"},
        {"similarity", "/similarity", J({"inputs" : {"source_sentence" : "a", "sentences" : [ "b", "c" ]}}), 200,
         J([ 1, 1 ]), "- right yes 0 0"},
        {"similarity with parameters", "/similarity",
         J({"inputs" : {"source_sentence" : "a", "sentences" : ["b"]}, "parameters" : {"prompt_name" : "query"}}), 200,
         J([1]), "query right yes 0 0"},
        {"no inputs", "/embed", J({"inputs" : []}), 400,
         J({"error" : "`inputs` cannot be empty", "error_type" : "Empty"}), NULL},
        {"an empty text", "/embed", J({"inputs" : [ "a", "" ]}), 400,
         J({"error" : "Input validation error: `inputs` cannot be empty", "error_type" : "Empty"}), NULL},
        {"no sentences", "/similarity", J({"inputs" : {"source_sentence" : "a", "sentences" : []}}), 400,
         J({"error" : "`inputs.sentences` cannot be empty", "error_type" : "Empty"}), NULL},
        {"too many", "/embed", J({"inputs" : [ "a", "b", "c", "d", "e" ]}), 422,
         J({"error" : "batch size 5 > maximum allowed batch size 4", "error_type" : "Validation"}), NULL},
        {"too many sentences", "/similarity",
         J({"inputs" : {"source_sentence" : "a", "sentences" : [ "b", "c", "d", "e" ]}}), 422,
         J({"error" : "batch size 5 > maximum allowed batch size 4", "error_type" : "Validation"}), NULL},
        {"dimensions 0", "/embed", J({"inputs" : "a", "dimensions" : 0}), 422,
         J({"error" : "`dimensions` should be positive", "error_type" : "Validation"}), NULL},
        {"dimensions -1", "/embed", J({"inputs" : "a", "dimensions" : -1}), 422,
         J({"error" : "`dimensions` should be positive", "error_type" : "Validation"}), NULL},
        {"dimensions 9", "/embed", J({"inputs" : "a", "dimensions" : 9}), 422, J({
             "error" : "`dimensions` should be smaller than the maximum embedding dimension.",
             "error_type" : "Validation"
         }),
         NULL},
        {"null where none may be", "/embed", J({"inputs" : "a", "normalize" : null}), 422,
         J({"error" : "normalize: is null, expected true or false", "error_type" : "Validation"}), NULL},
        {"reranking", "/rerank", J({"query" : "a", "texts" : ["b"]}), 424,
         J({"error" : "Backend error: model is not a re-ranker model", "error_type" : "Backend"}), NULL},
        {"reranking nothing", "/rerank", J({"query" : "a", "texts" : []}), 400,
         J({"error" : "`texts` cannot be empty", "error_type" : "Empty"}), NULL},
    };
    PLAY(*state, cases, 1);
}

static void tei_tokens(void **state) {
    static const transcript cases[] = {
        {"tokens", "/tokenize", J({"inputs" : "I walk"}), 200, J([[
             {"id" : 3, "text" : "[CLS]", "special" : true, "start" : null, "stop" : null},
             {"id" : 287, "text" : "I", "special" : false, "start" : 0, "stop" : 1},
             {"id" : 301, "text" : "w", "special" : false, "start" : 2, "stop" : 3},
             {"id" : 560, "text" : "alk", "special" : false, "start" : 3, "stop" : 6},
             {"id" : 4, "text" : "[SEP]", "special" : true, "start" : null, "stop" : null}
         ]]),
         NULL},
        {"tokens without special ones", "/tokenize", J({"inputs" : ["I"], "add_special_tokens" : false}), 200,
         J([[ {"id" : 287, "text" : "I", "special" : false, "start" : 0, "stop" : 1} ]]), NULL},
        {"decoded", "/decode", J({"ids" : [ [ 3, 301, 560, 4 ], [287] ]}), 200, J([ "walk", "i" ]), NULL},
        {"decoded with special ones", "/decode", J({"ids" : [ 3, 287, 4 ], "skip_special_tokens" : false}), 200,
         J(["[CLS] i [SEP]"]), NULL},
        {"nothing to tokenise", "/tokenize", J({"inputs" : []}), 400,
         J({"error" : "`inputs` cannot be empty", "error_type" : "Empty"}), NULL},
        {"nothing to decode", "/decode", J({"ids" : []}), 400,
         J({"error" : "`ids` cannot be empty", "error_type" : "Empty"}), NULL},
        {"an empty list to decode", "/decode", J({"ids" : [[]]}), 400,
         J({"error" : "`input_ids` cannot be empty", "error_type" : "Empty"}), NULL},
    };
    PLAY(*state, cases, 1);
}

static void cohere_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"texts", "/v2/embed", J({"model" : "m", "texts" : [ "a", "" ], "input_type" : "search_query"}), 200, J({
             "id" : "id-1",
             "response_type" : "embeddings_by_type",
             "embeddings" : {"float" : [ [ 1, 0.5, -0.25, 0 ], [ 1, 0.5, -0.25, 0 ] ]},
             "texts" : [ "a", "" ],
             "meta" : {"api_version" : {"version" : "2"}, "billed_units" : {"input_tokens" : 6}}
         }),
         "query right yes 0 0"},
        {"all types", "/v2/embed", J({
             "texts" : ["a"],
             "input_type" : "search_document",
             "truncate" : "START",
             "output_dimension" : 4,
             "max_tokens" : 5,
             "embedding_types" : [ "float", "int8", "uint8", "binary", "ubinary", "base64" ]
         }),
         200, J({
             "id" : "id-1",
             "response_type" : "embeddings_by_type",
             "embeddings" : {
                 "float" : [[ 1, 0.5, -0.25, 0 ]],
                 "int8" : [[ 127, 64, -32, 0 ]],
                 "uint8" : [[ 255, 192, 96, 128 ]],
                 "binary" : [[64]],
                 "ubinary" : [[192]],
                 "base64" : ["AACAPwAAAD8AAIC+AAAAAA=="]
             },
             "texts" : ["a"],
             "meta" : {"api_version" : {"version" : "2"}, "billed_units" : {"input_tokens" : 3}}
         }),
         "passage left yes 4 5"},
        {"a picture", "/v2/embed",
         J({"input_type" : "image", "images" : ["data:image/png;base64,AAAA"], "truncate" : "NONE", "max_tokens" : 99}),
         200, J({
             "id" : "id-1",
             "response_type" : "embeddings_by_type",
             "embeddings" : {"float" : [[ 1, 0.5, -0.25, 0 ]]},
             "meta" : {"api_version" : {"version" : "2"}, "billed_units" : {"images" : 1, "image_tokens" : 3}}
         }),
         "- error yes 0 0"},
        {"text and picture", "/v2/embed", J({
             "input_type" : "classification",
             "truncate" : "END",
             "inputs" : [ {
                 "content" : [
                     {"type" : "text", "text" : "a"},
                     {"type" : "image_url", "image_url" : {"url" : "data:image/png;base64,AAAA"}}
                 ]
             } ]
         }),
         200, J({
             "id" : "id-1",
             "response_type" : "embeddings_by_type",
             "embeddings" : {"float" : [[ 1, 0.5, -0.25, 0 ]]},
             "meta" : {
                 "api_version" : {"version" : "2"},
                 "billed_units" : {"input_tokens" : 1, "images" : 1, "image_tokens" : 2}
             }
         }),
         "classification right yes 0 0"},
        {"nothing", "/v2/embed", J({"model" : "m"}), 400,
         J({"message" : "invalid request: exactly one of texts, images and inputs must be given"}), NULL},
        {"both", "/v2/embed", J({"texts" : ["a"], "images" : ["b"]}), 400,
         J({"message" : "invalid request: exactly one of texts, images and inputs must be given"}), NULL},
        {"an unknown type", "/v2/embed", J({"texts" : ["a"], "embedding_types" : ["int4"]}), 400,
         J({"message" : "embedding_types: int4 is none of float, int8, uint8, binary, ubinary and base64"}), NULL},
        {"a video", "/v2/embed", J({"inputs" : [ {"content" : [ {"type" : "video_url"} ]} ]}), 422,
         J({"message" : "inputs[0].content[0].type: \"video_url\": this server reads no videos in this API"}), NULL},
        {"no text", "/v2/embed", J({"inputs" : [ {"content" : [ {"type" : "text"} ]} ]}), 400,
         J({"message" : "inputs[0].content[0].text: is missing, expected a string"}), NULL},
    };
    PLAY(*state, cases, 1);
}

static void jina_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"objects", "/v1/embeddings", J({"input" : [ {"text" : "a"} ], "task" : "retrieval.query"}), 200, LIST_OF_ONE,
         "query right yes 0 0"},
        {"texts", "/v1/embeddings",
         J({"input" : "a", "task" : "retrieval.passage", "normalized" : false, "truncate" : false, "dimensions" : 4}),
         200, LIST_OF_ONE, "passage error no 4 0"},
        {"a task's own prompt", "/v1/embeddings", J({"input" : ["a"], "task" : "text-matching"}), 200, LIST_OF_ONE,
         "text-matching right yes 0 0"},
        {"a task without prompt", "/v1/embeddings", J({"input" : ["a"], "task" : "separation"}), 200, LIST_OF_ONE,
         "- right yes 0 0"},
        {"a picture", "/v1/embeddings", J({"input" : [ {"image" : "AAAA"} ]}), 200, LIST_OF_ONE, NULL},
        {"one type", "/v1/embeddings", J({"input" : "a", "embedding_type" : "ubinary"}), 200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : [192]} ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         NULL},
        {"several types", "/v1/embeddings", J({"input" : "a", "embedding_type" : [ "float", "base64", "binary" ]}), 200,
         J({
             "object" : "list",
             "data" : [ {
                 "object" : "embedding",
                 "index" : 0,
                 "embedding" : {"float" : [ 1, 0.5, -0.25, 0 ], "base64" : "AACAPwAAAD8AAIC+AAAAAA==", "binary" : [64]}
             } ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         NULL},
        {"OpenAI's word for base64", "/v1/embeddings", J({"input" : [ {"text" : "a"} ], "encoding_format" : "base64"}),
         200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : "AACAPwAAAD8AAIC+AAAAAA=="} ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         NULL},
        {"Jina's word comes first", "/v1/embeddings",
         J({"input" : "a", "embedding_type" : "float", "encoding_format" : "base64"}), 200, LIST_OF_ONE, NULL},
        {"known by normalized", "/v1/embeddings", J({"input" : ["a"], "normalized" : false}), 200, LIST_OF_ONE,
         "- right no 0 0"},
        {"known by truncate", "/embeddings", J({"input" : ["a"], "truncate" : false}), 200, LIST_OF_ONE,
         "- error yes 0 0"},
        {"known by return_multivector", "/v1/embeddings", J({"input" : ["a"], "return_multivector" : true}), 422,
         J({"detail" : "return_multivector: must be false: the model \"m\" gives one vector an input"}), NULL},
        {"known by return_tokenized_input", "/embeddings", J({"input" : ["a"], "return_tokenized_input" : true}), 422,
         J({"detail" : "return_tokenized_input: is not done here; POST /tokenize gives the tokens"}), NULL},
        {"null is absent", "/v1/embeddings",
         J({"input" : "a", "dimensions" : 9, "task" : null, "embedding_type" : null, "output_dtype" : null}), 400,
         OPENAI_ERROR("Invalid value for 'dimensions' = 9. Must be less than or equal to 8.", "\"dimensions\""), NULL},
        {"late chunking", "/v1/embeddings", J({"input" : "a", "late_chunking" : true}), 422,
         J({"detail" : "late_chunking: is not done here; send each chunk as an input of its own, with false"}), NULL},
        {"several vectors", "/v1/embeddings", J({"input" : [ {"text" : "a"} ], "return_multivector" : true}), 422,
         J({"detail" : "return_multivector: must be false: the model \"m\" gives one vector an input"}), NULL},
        {"a PDF", "/v1/embeddings", J({"input" : [ {"pdf" : "AAAA"} ]}), 422,
         J({"detail" : "input[0].pdf: no PDF is read here; send its text, or its pages as pictures"}), NULL},
        {"both", "/v1/embeddings", J({"input" : [ "a", {"text" : "a", "image" : "AAAA"} ]}), 400,
         J({"detail" : "input[1].text: an input holds either \"text\" or \"image\""}), NULL},
        {"an unknown type", "/v1/embeddings", J({"input" : "a", "embedding_type" : [ "float", 3 ]}), 400,
         J({"detail" : "embedding_type: an integer is none of float, base64, binary and ubinary"}), NULL},
        {"a type twice", "/v1/embeddings", J({"input" : "a", "embedding_type" : [ "float", "float" ]}), 400,
         J({"detail" : "embedding_type: names one type twice"}), NULL},
        {"a number", "/v1/embeddings", J({"input" : [ {"text" : "a"}, 3 ]}), 400,
         J({"detail" : "input[1]: is an integer, expected a string"}), NULL},
    };
    PLAY(*state, cases, 1);
}

static void voyage_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"texts", "/v1/embeddings", J({
             "input" : ["a"],
             "model" : "voyage-3",
             "input_type" : "document",
             "truncation" : true,
             "output_dtype" : null,
             "output_dimension" : null
         }),
         200, LIST_OF_ONE, "passage right yes 0 0"},
        {"small types", "/v1/embeddings", J({
             "input" : "a",
             "input_type" : null,
             "output_dtype" : "int8",
             "encoding_format" : "base64",
             "truncation" : false,
             "output_dimension" : 4
         }),
         200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : "f0DgAA=="} ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         "- error yes 4 0"},
        {"an empty text", "/v1/embeddings", J({"input" : [""], "input_type" : null}), 400,
         J({"detail" : "input[0]: an empty text has no embedding"}), NULL},
        {"an empty text alone", "/v1/embeddings", J({"input" : "", "input_type" : null}), 400,
         J({"detail" : "input: an empty text has no embedding"}), NULL},
        {"text and picture", "/v1/multimodalembeddings", J({
             "model" : "m",
             "input_type" : "query",
             "truncation" : true,
             "inputs" : [
                 {"content" : [ {"type" : "text", "text" : "a"} ]}, {
                     "content" : [
                         {"type" : "text", "text" : "a"},
                         {"type" : "image_base64", "image_base64" : "data:image/png;base64,AAAA"}
                     ]
                 }
             ]
         }),
         200, J({
             "object" : "list",
             "data" : [
                 {"object" : "embedding", "index" : 0, "embedding" : [ 1, 0.5, -0.25, 0 ]},
                 {"object" : "embedding", "index" : 1, "embedding" : [ 1, 0.5, -0.25, 0 ]}
             ],
             "model" : "m",
             "usage" : {"text_tokens" : 4, "image_pixels" : 0, "video_pixels" : 0, "total_tokens" : 6}
         }),
         "query right yes 0 0"},
        {"base64 by its client's word", "/v1/multimodalembeddings",
         J({"inputs" : [ {"content" : [ {"type" : "text", "text" : "a"} ]} ], "encoding_format" : "base64"}), 200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : "AACAPwAAAD8AAIC+AAAAAA=="} ],
             "model" : "m",
             "usage" : {"text_tokens" : 3, "image_pixels" : 0, "video_pixels" : 0, "total_tokens" : 3}
         }),
         NULL},
        {"its own word comes first", "/v1/multimodalembeddings", J({
             "inputs" : [ {"content" : [ {"type" : "text", "text" : "a"} ]} ],
             "encoding_format" : "base64",
             "output_encoding" : "float"
         }),
         200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : [ 1, 0.5, -0.25, 0 ]} ],
             "model" : "m",
             "usage" : {"text_tokens" : 3, "image_pixels" : 0, "video_pixels" : 0, "total_tokens" : 3}
         }),
         NULL},
        {"no contents", "/v1/multimodalembeddings", J({"inputs" : [ {"content" : []} ]}), 400,
         J({"detail" : "inputs[0].content: is an empty list"}), NULL},
        {"a video", "/v1/multimodalembeddings", J({"inputs" : [ {"content" : [ {"type" : "video_url"} ]} ]}), 400,
         J({"detail" : "inputs[0].content[0].type: \"video_url\": this server reads no videos in this API"}), NULL},
    };
    PLAY(*state, cases, 1);
}

/* Fields that make a body Voyage's, and OpenAI's names in it. */
static void voyage_with_the_words_of_others(void **state) {
    static const transcript cases[] = {
        {"known by truncation", "/v1/embeddings", J({"input" : ["a"], "truncation" : false}), 200, LIST_OF_ONE,
         "- error yes 0 0"},
        {"the same at /embeddings", "/embeddings", J({"input" : ["a"], "truncation" : false}), 200, LIST_OF_ONE,
         "- error yes 0 0"},
        {"OpenAI's name of the dimensions", "/v1/embeddings",
         J({"input" : "a", "input_type" : "query", "dimensions" : 4, "encoding_format" : "float"}), 200, LIST_OF_ONE,
         "query right yes 4 0"},
        {"both names", "/v1/embeddings", J({"input" : "a", "output_dimension" : 4, "dimensions" : 4}), 200, LIST_OF_ONE,
         "- right yes 4 0"},
        {"both names, two numbers", "/v1/embeddings", J({"input" : "a", "output_dimension" : 2, "dimensions" : 4}), 400,
         J({"detail" : "dimensions: is 4, but output_dimension is 2"}), NULL},
        {"too many dimensions", "/v1/embeddings", J({"input" : "a", "input_type" : null, "dimensions" : 9}), 400,
         J({"detail" : "dimensions: is 9, expected 1 to 8"}), NULL},
        {"several texts of one item", "/v1/multimodalembeddings",
         J({"inputs" : [ {"content" : [ {"type" : "text", "text" : "a"}, {"type" : "text", "text" : "b"} ]} ]}), 200,
         J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : [ 1, 0.5, -0.25, 0 ]} ],
             "model" : "m",
             "usage" : {"text_tokens" : 3, "image_pixels" : 0, "video_pixels" : 0, "total_tokens" : 3}
         }),
         "- right yes 0 0"},
    };
    PLAY(*state, cases, 1);
}

static void ollama_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"a text", "/api/embed", J({"model" : "x", "input" : "a", "keep_alive" : "5m", "options" : {"num_ctx" : 9}}),
         200, J({"model" : "x", "embeddings" : [[ 1, 0.5, -0.25, 0 ]], "prompt_eval_count" : 3}), "- right yes 0 0"},
        {"texts", "/api/embed", J({"input" : [ "a", "" ], "truncate" : false, "dimensions" : 4, "keep_alive" : -1}),
         200,
         J({"model" : "m", "embeddings" : [ [ 1, 0.5, -0.25, 0 ], [ 1, 0.5, -0.25, 0 ] ], "prompt_eval_count" : 6}),
         "- error yes 4 0"},
        {"more dimensions than there are", "/api/embed", J({"input" : "a", "dimensions" : 4000}), 200,
         J({"model" : "m", "embeddings" : [[ 1, 0.5, -0.25, 0 ]], "prompt_eval_count" : 3}), "- right yes 0 0"},
        {"no inputs", "/api/embed", J({"model" : "x", "input" : []}), 200, J({"model" : "x", "embeddings" : []}), NULL},
        {"nothing", "/api/embed", J({"model" : "x"}), 200, J({"model" : "x", "embeddings" : []}), NULL},
        {"an empty text", "/api/embed", J({"model" : "x", "input" : ""}), 200, J({"model" : "x", "embeddings" : []}),
         NULL},
        {"a number", "/api/embed", J({"input" : 3}), 400, J({"error" : "invalid input type"}), NULL},
        {"a number among texts", "/api/embed", J({"input" : [ "a", 3 ]}), 400, J({"error" : "invalid input type"}),
         NULL},
        {"the older form", "/api/embeddings", J({"model" : "x", "prompt" : "a"}), 200,
         J({"embedding" : [ 1, 0.5, -0.25, 0 ]}), "- right no 0 0"},
        {"the older form with nothing", "/api/embeddings", J({"model" : "x", "prompt" : ""}), 200,
         J({"embedding" : []}), NULL},
    };
    PLAY(*state, cases, 1);
}

static void llama_as_its_clients_know_it(void **state) {
    static const transcript cases[] = {
        {"a text", "/embeddings", J({"content" : "a"}), 200, J([ {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]} ]),
         "- right yes 0 0"},
        {"as they are", "/embedding", J({"input" : [ "a", [ 5, 6 ] ], "embd_normalize" : -1}), 200, J([
             {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]}, {"index" : 1, "embedding" : [[ 1, 0.5, -0.25, 0 ]]}
         ]),
         "- right no 0 0"},
        {"to the largest", "/embedding", J({"input" : "a", "embd_normalize" : 0}), 200,
         J([ {"index" : 0, "embedding" : [[ 32760, 16380, -8190, 0 ]]} ]), "- right no 0 0"},
        {"taxicab", "/v1/embeddings", J({"content" : "a", "embd_normalize" : 1}), 200,
         J([ {"index" : 0, "embedding" : [[ 0.5714286, 0.2857143, -0.14285715, 0 ]]} ]), "- right no 0 0"},
        {"a picture", "/embedding",
         J({"content" : {"prompt_string" : "a <__media__> b", "multimodal_data" : ["AAAA"]}}), 200,
         J([ {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]} ]), NULL},
        {"a picture too few", "/embedding", J({"content" : {"prompt_string" : "<__media__>", "multimodal_data" : []}}),
         400,
         LLAMA_ERROR(400,
                     "content.prompt_string: must hold \\\"<__media__>\\\" once for each of the 0 of multimodal_data",
                     "invalid_request_error"),
         NULL},
        {"nothing", "/embedding", J({"model" : "m"}), 400,
         LLAMA_ERROR(400, "\\\"input\\\" or \\\"content\\\" must be provided", "invalid_request_error"), NULL},
        {"an empty text", "/embeddings", J({"content" : ""}), 400,
         LLAMA_ERROR(400, "Input content cannot be empty", "invalid_request_error"), NULL},
        {"an id beyond the vocabulary", "/embeddings", J({"content" : [ 5, 760 ]}), 400,
         LLAMA_ERROR(400, "content[1]: is no token id of the vocabulary (0 to 759)", "invalid_request_error"), NULL},
        {"tokens", "/tokenize", J({"content" : "I"}), 200, J({"tokens" : [287]}), NULL},
        {"tokens with special ones", "/tokenize", J({"content" : "I", "add_special" : true}), 200,
         J({"tokens" : [ 3, 287, 4 ]}), NULL},
        {"pieces", "/tokenize", J({"content" : "I", "with_pieces" : true}), 200,
         J({"tokens" : [ {"id" : 287, "piece" : "i"} ]}), NULL},
        {"text of tokens", "/detokenize", J({"tokens" : [287]}), 200, J({"content" : "i"}), NULL},
        {"text of lists", "/detokenize", J({"tokens" : [[287]]}), 400,
         LLAMA_ERROR(400, "tokens: expected a list of token ids", "invalid_request_error"), NULL},
    };
    PLAY(*state, cases, 1);
}

/* llama-server's and OpenAI's list, base64, lists inside lists. */
static void llama_lists_and_formats(void **state) {
    static const transcript cases[] = {
        {"OpenAI's list", "/v1/embeddings", J({"input" : "a", "embd_normalize" : 1}), 200, J({
             "object" : "list",
             "data" : [ {"object" : "embedding", "index" : 0, "embedding" : [ 0.5714286, 0.2857143, -0.14285715, 0 ]} ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         "- right no 0 0"},
        {"OpenAI's list in base64", "/v1/embeddings",
         J({"input" : [ {"prompt_string" : "a"} ], "encoding_format" : "base64"}), 200, J({
             "object" : "list",
             "data" : [ {
                 "object" : "embedding",
                 "index" : 0,
                 "embedding" : "AACAPwAAAD8AAIC+AAAAAA==",
                 "encoding_format" : "base64"
             } ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         NULL},
        {"a prompt alone", "/embeddings", J({"input" : {"prompt_string" : "a"}}), 200,
         J([ {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]} ]), NULL},
        {"as they are, by embd_normalize", "/embeddings", J({"input" : "a", "embd_normalize" : -1}), 200,
         J([ {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]} ]), "- right no 0 0"},
        {"base64", "/embedding", J({"content" : "a", "encoding_format" : "base64"}), 200,
         J([ {"index" : 0, "embedding" : ["AACAPwAAAD8AAIC+AAAAAA=="]} ]), NULL},
        {"no such format", "/embedding", J({"content" : "a", "encoding_format" : "hex"}), 400,
         LLAMA_ERROR(400, "The format to return the embeddings in. Can be either float or base64",
                     "invalid_request_error"),
         NULL},
        {"a format of the wrong type", "/embeddings", J({"content" : "a", "encoding_format" : 3}), 400,
         LLAMA_ERROR(400, "The format to return the embeddings in. Can be either float or base64",
                     "invalid_request_error"),
         NULL},
        {"lists in a list", "/embedding", J({"content" : [ [ "a", "b" ], ["c"] ]}), 200, J([
             {"index" : 0, "embedding" : [[ 1, 0.5, -0.25, 0 ]]}, {"index" : 1, "embedding" : [[ 1, 0.5, -0.25, 0 ]]},
             {"index" : 2, "embedding" : [[ 1, 0.5, -0.25, 0 ]]}
         ]),
         NULL},
        {"an empty list in a list", "/embedding", J({"content" : [ "a", [] ]}), 400,
         LLAMA_ERROR(400, "Input content cannot be empty", "invalid_request_error"), NULL},
        {"too many in lists", "/embedding", J({"content" : [ [ "a", "b", "c" ], [ "d", "e" ] ]}), 400,
         LLAMA_ERROR(400, "5 inputs; at most 4 go into one request", "invalid_request_error"), NULL},
        {"lists too deep", "/embedding", J({"content" : [[[[[[[[["a"]]]]]]]]]}), 400,
         LLAMA_ERROR(400, "content[0][0][0][0][0][0][0][0]: lists of more than 8 levels", "invalid_request_error"),
         NULL},
        {"content that is null", "/embeddings", J({"input" : "a", "content" : null}), 200, LIST_OF_ONE, NULL},
        {"null to tokenise", "/tokenize", J({"inputs" : ["I"], "content" : null, "add_special_tokens" : false}), 200,
         J([[ {"id" : 287, "text" : "I", "special" : false, "start" : 0, "stop" : 1} ]]), NULL},
    };
    PLAY(*state, cases, 1);
}

/* [12, "text", 34]: the ids of one input. */
static void llama_mixes_ids_and_texts(void **state) {
    static const int32_t expected[] = {5, 287, 6};
    act a;
    act_open(&a, *state, "/embeddings", J({"content" : [ 5, "I", 6 ]}));
    assert_true(a.op.handler->parse(&a.op));
    assert_int_equal(a.op.job.n_items, 1);
    const tkr_input *input = &a.op.job.items[0].input;
    assert_int_equal(input->kind, TKR_INPUT_TOKENS);
    assert_int_equal(input->n_ids, 3);
    assert_memory_equal(input->ids, expected, sizeof expected);
    act_close(&a);
}

/* Texts of one item that follow each other: a blank between them unless there is one. */
static void texts_of_an_item_are_joined(void **state) {
    act a;
    act_open(&a, *state, "/v2/embed", J({
        "inputs" : [ {
            "content" : [
                {"type" : "text", "text" : "This is a"}, {"type" : "text", "text" : ""},
                {"type" : "text", "text" : "banana"}, {"type" : "text", "text" : " split"},
                {"type" : "image_url", "image_url" : {"url" : "data:image/png;base64,AAAA"}},
                {"type" : "text", "text" : "x"}
            ]
        } ]
    }));
    assert_true(a.op.handler->parse(&a.op));
    const tkr_input *input = &a.op.job.items[0].input;
    assert_int_equal(input->n_parts, 3);
    assert_int_equal(input->parts[0].kind, TKR_PART_TEXT);
    assert_int_equal(input->parts[0].n_data, strlen("This is a banana split"));
    assert_memory_equal(input->parts[0].data, "This is a banana split", input->parts[0].n_data);
    assert_int_equal(input->parts[1].kind, TKR_PART_IMAGE);
    assert_int_equal(input->parts[2].n_data, 1);
    act_close(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_as_its_clients_know_it),
        cmocka_unit_test(tei_as_its_clients_know_it),
        cmocka_unit_test(tei_tokens),
        cmocka_unit_test(cohere_as_its_clients_know_it),
        cmocka_unit_test(jina_as_its_clients_know_it),
        cmocka_unit_test(voyage_as_its_clients_know_it),
        cmocka_unit_test(voyage_with_the_words_of_others),
        cmocka_unit_test(ollama_as_its_clients_know_it),
        cmocka_unit_test(llama_as_its_clients_know_it),
        cmocka_unit_test(llama_lists_and_formats),
        cmocka_unit_test(llama_mixes_ids_and_texts),
        cmocka_unit_test(texts_of_an_item_are_joined),
    };
    return cmocka_run_group_tests(tests, open_scene, close_scene);
}
