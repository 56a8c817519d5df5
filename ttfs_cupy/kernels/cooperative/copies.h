// Copies of images' channels to shared memory, for the products on tensor cores. VECTOR: 4 where a pixel's channels can be
// copied 4 at a time, else 1.

#define NOWHERE -1

DEVICE int lane() { return threadIdx.x % WARP; }

// Copies 4 channels of a pixel; zeros where no pixel or no channel is.
DEVICE void copy_channels(float4* to, const float* images, int offset, int channel, int channels) {
    if (VECTOR == 4) {
        const bool there = offset != NOWHERE && channel < channels;
        copy_async(to, images + (there ? offset + channel : 0), there);
    } else {
        for (int i = 0; i < 4; ++i) {
            const bool there = offset != NOWHERE && channel + i < channels;
            copy_async((float*)to + i, images + (there ? offset + channel + i : 0), there);
        }
    }
}
