// Copies of images' channels to shared memory, for the products on tensor cores. VECTOR: 4 where a pixel's channels can be
// copied 4 at a time, else 1.

#define NOWHERE -1

DEVICE int lane() { return threadIdx.x % WARP; }

// Copies 4 channels of a pixel; zeros where no pixel or no channel is.
DEVICE void copy_channels(float4* to, const float* images, int offset, int channel, int channels) {
    // as unsigned, an address takes one instruction; where nothing is there, it is one of nothing, and not read
    const float* const from = images + (unsigned)(offset + channel);
    if (VECTOR == 4) {
        copy_async(to, from, offset != NOWHERE && channel < channels);
    } else {
        for (int i = 0; i < 4; ++i) copy_async((float*)to + i, from + i, offset != NOWHERE && channel + i < channels);
    }
}
