// SPDX-License-Identifier: MIT
// Calls of C++ into every part that the static library is linked with: a bias, a session in parallel, a tokenizer.
#include <cstdio>
#include <mep/mep.h>
#include <vector>

static bool failed(mep_status status)
{
    if (status != MEP_OK) std::fprintf(stderr, "%s\n", mep_error_message());
    return status != MEP_OK;
}

int main()
{
    mep_model_config config;
    mep_model *model = nullptr;
    mep_session *session = nullptr;
    mep_tokenizer *tokenizer = nullptr;
    mep_session_settings settings;
    if (failed(mep_model_preset("nano", &config)) || failed(mep_model_create(&model, &config, 1))) return 1;
    mep_session_defaults(&settings);
    settings.batch = 1;
    settings.length = 4;
    settings.dtype = MEP_FLOAT32;
    const std::vector<int32_t> tokens = {1, 2, 3, 4};
    std::vector<float> logits(4 * static_cast<size_t>(config.vocab_size));
    if (failed(mep_session_create(&session, model, &settings))) return 1;
    if (failed(mep_session_logits(session, 1, 4, tokens.data(), logits.data()))) return 1;
    if (failed(mep_tokenizer_bytes(&tokenizer))) return 1;
    std::printf("libmep %s, %s: logit %g\n", mep_version(), mep_tokenizer_name(tokenizer), double(logits[0]));
    mep_tokenizer_destroy(&tokenizer);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    return 0;
}
