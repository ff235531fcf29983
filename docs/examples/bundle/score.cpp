// Scores images with influence.onnx: score IMAGE.ppm... (binary PPM or PGM, as `magick photo.jpg -resize 224x224! photo.ppm`).
//
// One line an image: its influence and its name. The more negative its influence, the more labelling the image is expected to
// lower the loss on the reference set. Images have the size of recipe.hpp.
//   c++ -std=c++17 score.cpp -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o score

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "recipe.hpp"

// The samples of a PPM or PGM file, row by row.
std::vector<uint8_t> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    int width = 0, height = 0, most = 0;
    file >> magic >> width >> height >> most;
    file.get();
    if (magic != (CHANNELS == 1 ? "P5" : "P6") || most != 255) throw std::runtime_error(path + " is no such file");
    if (width != WIDTH || height != HEIGHT) throw std::runtime_error(path + " has another size");
    std::vector<uint8_t> pixels(size_t(width) * height * CHANNELS);
    if (!file.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) throw std::runtime_error(path + " is cut off");
    return pixels;
}

int main(int count, char** arguments) try {
    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "score");
    Ort::Session session(environment, "influence.onnx", Ort::SessionOptions());
    Ort::AllocatorWithDefaultOptions allocator;
    const auto input = session.GetInputNameAllocated(0, allocator);
    const char* inputs[] = {input.get()};
    const char* outputs[] = {"influence"};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const int64_t nchw[] = {1, CHANNELS, HEIGHT, WIDTH}, nhwc[] = {1, HEIGHT, WIDTH, CHANNELS};
    for (int i = 1; i < count; ++i) {
        std::vector<uint8_t> pixels = read(arguments[i]);
        std::vector<float> values(pixels.size());
        for (int at = 0; at < HEIGHT * WIDTH; ++at)
            for (int c = 0; c < CHANNELS; ++c) {
                const float sample = pixels[at * CHANNELS + (BGR ? CHANNELS - 1 - c : c)];
                const int to = NCHW ? c * HEIGHT * WIDTH + at : at * CHANNELS + c;
                values[to] = ((UNIT ? sample / 255.0f : sample) - MEAN[c]) / STD[c];
            }
        const int64_t* shape = NCHW ? nchw : nhwc;
        auto batch = BYTES ? Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape, 4)
                           : Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape, 4);
        const auto answers = session.Run(Ort::RunOptions(), inputs, &batch, 1, outputs, 1);
        std::cout.precision(9);
        std::cout << answers[0].GetTensorData<float>()[0] << "  " << arguments[i] << "\n";
    }
} catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
}
