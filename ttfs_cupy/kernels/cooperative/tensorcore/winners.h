// Of neurons whose 2x2 pooling is joined to their layer (POOLED): where their gradients lie, and who won. After copies.h.

// Tables hold, of a neuron, its first channel's place in the arrays of gradients; with POOLED 4 times its window's, plus its
// own place in the window. This is the former of either; NOWHERE, -1, stays.
DEVICE int in_gradients(int offset) { return POOLED ? offset >> 2 : offset; }

// Copies the winners of 4 channels, a byte each. at: of the first channel.
DEVICE void copy_winners(const Spikes& of, unsigned* to, int at, int channel) {
    if (VECTOR == 4) {
        const bool there = at != NOWHERE && (WHOLE || channel < of.channels);
        copy_async((float*)to, (const float*)(of.winner + (unsigned)(at + channel)), there);
    } else {
        unsigned places = 0;
        for (int k = 0; k < 4; ++k) {
            if (at != NOWHERE && channel + k < of.channels) places |= of.winner[at + channel + k] << (8 * k);
        }
        *to = places;
    }
}
