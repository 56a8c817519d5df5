// Copies of images' channels to shared memory, for the products on tensor cores. VECTOR: 4 where a pixel's channels can be
// copied 4 at a time, else 1. WHOLE: 1 where the channels of all blocks, and of all chunks, are there.

#define NOWHERE -1

DEVICE int lane() { return threadIdx.x % WARP; }

// Copies 4 floats, of which the first `count` are there: zeros for the others, and for all if not `there`.
DEVICE void copy_floats(float4* to, const float* from, bool there, int count) {
    if (VECTOR == 4) {
        copy_async(to, from, there && (WHOLE || count > 0));
    } else {
        for (int i = 0; i < 4; ++i) copy_async((float*)to + i, from + i, there && (WHOLE || i < count));
    }
}

// Copies 4 channels of a pixel; zeros where no pixel or no channel is.
DEVICE void copy_channels(float4* to, const float* images, int offset, int channel, int channels) {
    // as unsigned, an address takes one instruction; where nothing is there, it is one of nothing, and not read
    copy_floats(to, images + (unsigned)(offset + channel), offset != NOWHERE, channels - channel);
}

// A lane's part of a fragment, from shared memory.
DEVICE void load_fragment(unsigned (&to)[4], const float4* from) {
    const uint4 piece = *(const uint4*)from;
    to[0] = piece.x;
    to[1] = piece.y;
    to[2] = piece.z;
    to[3] = piece.w;
}
