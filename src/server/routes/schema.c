/* SPDX-License-Identifier: Apache-2.0 */
/* routes/schema: what our own requests and replies look like, in JSON Schema 2020-12 (OpenAPI 3.1). */
#include "server/routes/schema.h"

/* Pieces that several requests share; each ends without a comma. */
#define MODEL \
    "\"model\":{\"type\":\"string\",\"description\":\"Name of the model; the server's first one when absent.\"}"
#define OPTIONS                                                                                                    \
    MODEL                                                                                                          \
    ","                                                                                                            \
    "\"normalize\":{\"type\":\"boolean\",\"default\":true,\"description\":\"Vectors of length 1; false: as the "   \
    "model gives them.\"},"                                                                                        \
    "\"dimensions\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Keep the first values and renormalise"   \
    ".\"},"                                                                                                        \
    "\"prompt_name\":{\"type\":\"string\",\"description\":\"A prompt of the model, put before each input.\"},"     \
    "\"prompt\":{\"type\":\"string\",\"description\":\"Text put before each input; wins over prompt_name.\"},"     \
    "\"instruction\":{\"type\":\"string\",\"description\":\"A task in the model's own form; wins over both. Also " \
    "called instruct.\"},"                                                                                         \
    "\"instruct\":{\"type\":\"string\",\"description\":\"The same as instruction.\"},"                             \
    "\"truncate\":{\"oneOf\":[{\"type\":\"boolean\"},{\"type\":\"string\",\"enum\":[\"right\",\"left\","           \
    "\"error\"]}],\"description\":\"Where longer texts are cut; false or error: refused.\"},"                      \
    "\"max_tokens\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Use fewer tokens than the model "        \
    "can.\"},"                                                                                                     \
    "\"encoding_format\":{\"type\":\"string\",\"enum\":[\"float\",\"base64\"],\"default\":\"float\"},"             \
    "\"output_dtype\":{\"type\":\"string\",\"enum\":[\"float\",\"float16\",\"int8\",\"uint8\",\"binary\","         \
    "\"ubinary\"],\"default\":\"float\",\"description\":\"What the numbers are; binary types hold eight values "   \
    "to a byte.\"},"                                                                                               \
    "\"priority\":{\"type\":\"string\",\"enum\":[\"normal\",\"bulk\"],\"default\":\"normal\",\"description\":"     \
    "\"bulk lets other requests go first.\"}"
#define SIZES                                                                                                    \
    "\"min_pixels\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Least pixels of a picture after its "  \
    "resize, "                                                                                                   \
    "for models that take any size.\"},"                                                                         \
    "\"max_pixels\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Most pixels of a picture after its "   \
    "resize.\"},"                                                                                                \
    "\"width\":{\"type\":\"integer\",\"minimum\":1},\"height\":{\"type\":\"integer\",\"minimum\":1},"            \
    "\"interpolate_pos_encoding\":{\"type\":\"boolean\",\"description\":\"Models of a fixed size: take width x " \
    "height "                                                                                                    \
    "instead.\"},"                                                                                               \
    "\"hub_limits\":{\"type\":\"boolean\",\"description\":\"Qwen3-VL: the limits of the checkpoint's own "       \
    "processor.\"}"
#define PICTURE                                                                                                        \
    "{\"oneOf\":[{\"type\":\"string\",\"description\":\"A data URI, an http(s) URL of an allowed host, or base64.\"}," \
    "{\"type\":\"object\",\"properties\":{\"url\":{\"type\":\"string\"}},\"required\":[\"url\"],"                      \
    "\"additionalProperties\":false},"                                                                                 \
    "{\"type\":\"object\",\"properties\":{\"base64\":{\"type\":\"string\"}},\"required\":[\"base64\"],"                \
    "\"additionalProperties\":false}]}"
#define ENCODED                                                                                                   \
    "{\"oneOf\":[{\"type\":\"string\",\"description\":\"A data URI, or base64.\"},{\"type\":\"object\","          \
    "\"properties\":{\"base64\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"}},\"required\":[\"base64\"]," \
    "\"additionalProperties\":false}]}"
#define FRAMES                                                                                                        \
    "\"max_frames\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1024,\"description\":\"Frames of a video that "   \
    "are "                                                                                                            \
    "looked at, evenly spread; 8 where the server isn't set otherwise.\"},"                                           \
    "\"pooling\":{\"type\":\"string\",\"enum\":[\"mean\",\"max\",\"first\",\"native\"],\"description\":\"How frames " \
    "become one vector; native: the model reads them at once.\"},"                                                    \
    "\"fps\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"description\":\"Frames of each second, up to "    \
    "max_frames.\"}"
#define ITEM                                                                                                           \
    "\"text\":{\"type\":\"string\"},\"image\":" PICTURE ",\"image_url\":" PICTURE                                      \
    ",\"images\":{\"type\":\"array\",\"items\":" PICTURE "},\"video\":" ENCODED ","                                    \
    "\"parts\":{\"type\":\"array\",\"description\":\"Texts, pictures and videos in order, in place of the others.\","  \
    "\"items\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"}," \
    "\"image\":" PICTURE ",\"video\":" ENCODED                                                                         \
    "},\"additionalProperties\":false,\"minProperties\":1,\"maxProperties\":1}]}}," SIZES "," FRAMES
#define IDS                                                                                                    \
    "\"oneOf\":[{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0},\"minItems\":1},{\"type\":" \
    "\"array\","                                                                                               \
    "\"items\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0}},\"minItems\":1}]"
#define STRICT ",\"additionalProperties\":false}"

const char tkr_schema_embed_text[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"texts\":{\"description\":\"One text, or several.\",\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\","
    "\"items\":{\"type\":\"string\"},\"minItems\":1}]},"
    "\"ids\":{\"description\":\"In place of texts: token ids, special ones included, of one input or of several.\"," IDS
    "},\"input_ids\":{\"description\":\"The same as ids.\"," IDS "}," OPTIONS
    "},\"examples\":[{\"texts\":[\"A dog plays in the snow.\",\"Der Hund spielt im Schnee.\"]}]" STRICT;

const char tkr_schema_embed_image[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"images\":{\"description\":\"Pictures, an input each.\",\"oneOf\":[" PICTURE
    ",{\"type\":\"array\",\"minItems\":1,"
    "\"items\":" PICTURE "}]}," SIZES "," OPTIONS
    "},\"required\":[\"images\"],\"examples\":[{\"images\":[\"data:image/png;base64,iVBORw0KGgo...\"]}]" STRICT;

const char tkr_schema_embed_video[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"videos\":{\"description\":\"Videos and animations, an input each; or files of a multipart "
    "form.\",\"oneOf\":[" ENCODED ",{\"type\":\"array\",\"minItems\":1,\"items\":" ENCODED "}]}," FRAMES ","
    "\"min_pixels\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Least pixels of a frame after its resize, "
    "for "
    "models that take any size.\"},\"max_pixels\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Most pixels of "
    "a "
    "frame after its resize.\"}," OPTIONS "},\"required\":[\"videos\"]" STRICT;

const char tkr_schema_embed_multimodal[] =
    "{\"oneOf\":[{\"type\":\"object\",\"properties\":{"
    "\"items\":{\"type\":\"array\",\"minItems\":1,\"description\":\"Each item gets one vector.\",\"items\":{\"oneOf\":["
    "{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{" ITEM ",\"prompt_name\":{\"type\":\"string\"},"
    "\"prompt\":{\"type\":\"string\"},\"instruction\":{\"type\":\"string\"},\"instruct\":{\"type\":\"string\"},"
    "\"id\":{\"description\":\"Ignored.\"}}" STRICT "]}}," OPTIONS "},\"required\":[\"items\"]" STRICT
    ",{\"type\":\"object\",\"properties\":{" ITEM "," OPTIONS "}" STRICT
    "],\"examples\":[{\"items\":[{\"text\":\"a red bicycle\"},{\"image\":\"data:image/jpeg;base64,/9j/4AAQ...\"}]}]}";

const char tkr_schema_embed_document[] =
    "{\"type\":\"object\",\"properties\":{"
    "\"documents\":{\"description\":\"Documents; or files of a multipart form.\",\"oneOf\":[" ENCODED
    ",{\"type\":\"array\",\"minItems\":1,\"items\":" ENCODED "}]},"
    "\"mode\":{\"type\":\"string\",\"enum\":[\"text\",\"page_image\",\"both\"],\"default\":\"text\",\"description\":"
    "\"Passages, the pages of a PDF as pictures, or both.\"},"
    "\"pictures\":{\"type\":\"boolean\",\"default\":false,\"description\":\"The pictures inside, too. For models that "
    "read pictures.\"},"
    "\"chunk_tokens\":{\"type\":\"integer\",\"minimum\":8,\"description\":\"Of a passage at most; 512, or as many as "
    "the model reads. At least 8 beside the special tokens and the prompt that stand around it: 10 where there are two "
    "and no prompt.\"},"
    "\"chunk_overlap\":{\"type\":\"integer\",\"minimum\":0,\"default\":0,\"description\":\"Tokens that a passage "
    "repeats of the one before, in whole sentences.\"},"
    "\"late_chunking\":{\"type\":\"boolean\",\"default\":false,\"description\":\"A passage's vector is the mean of its "
    "tokens' states in the whole document. For models with mean pooling.\"}," OPTIONS
    "},\"required\":[\"documents\"]" STRICT;

/* Members that all replies with vectors have. */
#define VECTORS                                                                                                      \
    "\"embeddings\":{\"type\":\"array\",\"description\":\"A vector an input, in their order: numbers, or base64 of " \
    "little-endian values. Models that give a vector a token: a list of vectors an input.\",\"items\":{\"type\":"    \
    "[\"array\",\"string\"]}},"                                                                                      \
    "\"shape\":{\"type\":\"array\",\"items\":{\"type\":[\"integer\",\"null\"]},\"description\":\"[inputs, values]; " \
    "[inputs, null, values] with several vectors an input.\"},"                                                      \
    "\"rows\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"description\":\"Vectors of each input, where "  \
    "they "                                                                                                          \
    "are several.\"},"                                                                                               \
    "\"dtype\":{\"type\":\"string\",\"description\":\"output_dtype, where it isn't float.\"},"                       \
    "\"model\":{\"type\":\"string\"},"                                                                               \
    "\"usage\":{\"type\":\"object\",\"required\":[\"prompt_tokens\",\"total_tokens\"],\"properties\":{"              \
    "\"prompt_tokens\":{\"type\":\"integer\"},\"total_tokens\":{\"type\":\"integer\"},\"truncated\":{\"type\":"      \
    "\"array\",\"items\":{\"type\":\"integer\"},\"description\":\"Indices of the inputs that were cut.\"}}},"        \
    "\"fingerprint\":{\"type\":\"string\",\"description\":\"Model, numbers and kernels: vectors are comparable bit " \
    "for bit only within one.\"}"

const char tkr_schema_document[] =
    "{\"type\":\"object\",\"required\":[\"embeddings\",\"passages\",\"documents\",\"shape\",\"model\",\"usage\","
    "\"fingerprint\"],\"properties\":{" VECTORS ","
    "\"passages\":{\"type\":\"array\",\"description\":\"What each vector is of, in their order.\",\"items\":{\"type\":"
    "\"object\",\"required\":[\"file\",\"kind\"],\"properties\":{"
    "\"file\":{\"type\":\"integer\",\"description\":\"Number in documents, from 0.\"},"
    "\"kind\":{\"type\":\"string\",\"description\":\"text, page_image or picture.\"},"
    "\"page\":{\"type\":\"integer\",\"description\":\"From 1; or slide, sheet, chapter.\"},"
    "\"slide\":{\"type\":\"integer\"},\"sheet\":{\"type\":\"integer\"},\"chapter\":{\"type\":\"integer\"},"
    "\"last_page\":{\"type\":\"integer\",\"description\":\"Where a passage goes on to another page.\"},"
    "\"chars\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"description\":\"[begin, end]: code points of the "
    "document's text.\"},"
    "\"heading\":{\"type\":\"string\",\"description\":\"Headings above it, outermost first, with > between.\"},"
    "\"picture\":{\"type\":\"integer\",\"description\":\"Of a picture inside: its number in the document, from 1.\"},"
    "\"text\":{\"type\":\"string\"}}}},"
    "\"documents\":{\"type\":\"array\",\"description\":\"What each file "
    "is.\",\"items\":{\"type\":\"object\",\"required\":["
    "\"source\",\"type\",\"characters\"],\"properties\":{"
    "\"source\":{\"type\":[\"string\",\"null\"],\"description\":\"Its name as it was sent.\"},"
    "\"type\":{\"type\":\"string\",\"description\":\"By its content: pdf, docx, ...\"},"
    "\"characters\":{\"type\":\"integer\",\"description\":\"Code points of its text.\"},"
    "\"note\":{\"type\":\"string\",\"description\":\"What couldn't be read.\"},"
    "\"pictures_not_decoded\":{\"type\":\"integer\",\"description\":\"Damaged pictures, which have no vector.\"},"
    "\"pages_not_drawn\":{\"type\":\"integer\",\"description\":\"Broken pages, which have no vector.\"}}}}}}";

const char tkr_schema_embeddings[] =
    "{\"type\":\"object\",\"required\":[\"embeddings\",\"shape\",\"model\",\"usage\",\"fingerprint\"],\"properties\":"
    "{" VECTORS
    ",\"frames\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"description\":\"Of videos: frames that each "
    "vector is made of; 0 of other inputs.\"},\"lost_frames\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"integer\"},\"description\":\"Frames that were wanted and are damaged; absent where none is.\"}}}";

const char tkr_schema_error[] =
    "{\"type\":\"object\",\"required\":[\"error\"],\"properties\":{\"error\":{\"type\":\"object\",\"required\":["
    "\"code\","
    "\"message\",\"status\"],\"properties\":{\"code\":{\"type\":\"string\",\"description\":\"A word for programs, such "
    "as "
    "wrong_type or overloaded.\"},\"message\":{\"type\":\"string\",\"description\":\"A line for people.\"},\"status\":"
    "{\"type\":\"integer\"},\"param\":{\"type\":\"string\",\"description\":\"The field that is to blame.\"},"
    "\"retry_after\":{\"type\":\"number\",\"description\":\"Seconds after which trying again helps.\"},\"request_id\":"
    "{\"type\":\"string\"}}}}}";
