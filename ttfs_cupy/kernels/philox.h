// Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011). What is drawn is a function of the seed and of a
// counter, {image, epoch, occurrence, block}, so an image gets the same numbers whoever asks, and whenever.

// Blocks of a counter's last word: each slot of an augmentation has 64, and what follows lies behind all of them.
#define BLOCKS_OF_A_SLOT 64
#define MIXTURE_BLOCK (1 << 20)
#define PARTNER_BLOCK (1 << 21)

struct Words {
    unsigned word[4];

    // Uniform in 0 to count - 1, but for a share of count / 2^32.
    DEVICE_MEMBER int below(int index, int count) const {
        return (int)((unsigned long long)word[index] * (unsigned)count >> 32);
    }
    // Uniform in [0, 1), of 24 bits.
    DEVICE_MEMBER double unit(int index) const { return (word[index] >> 8) * (1.0 / (1 << 24)); }
    // True with a probability of threshold / 2^24.
    DEVICE_MEMBER bool chance(int index, int threshold) const { return (int)(word[index] >> 8) < threshold; }
};

DEVICE Words philox(int image, int epoch, int occurrence, int block, long long seed) {
    unsigned key0 = (unsigned)seed, key1 = (unsigned)((unsigned long long)seed >> 32);
    Words now = {{(unsigned)image, (unsigned)epoch, (unsigned)occurrence, (unsigned)block}};
    for (int round = 0; round < 10; ++round) {
        const unsigned long long even = 0xD2511F53ull * now.word[0], odd = 0xCD9E8D57ull * now.word[2];
        now = {{(unsigned)(odd >> 32) ^ now.word[1] ^ key0, (unsigned)odd, (unsigned)(even >> 32) ^ now.word[3] ^ key1,
                (unsigned)even}};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return now;
}
