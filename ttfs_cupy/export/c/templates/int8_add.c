/* Adds @inputs that lie side by side. */
static void add@suffix(Sums *sums, const int8_t *weights, const @type *inputs, int32_t count)
{
    int32_t drive = 0;
//if sloped
    int32_t weight_sum = 0;
//end

    for (int32_t i = 0; i < count; i++) {
        drive += (int32_t)weights[i] * inputs[i];
//if sloped
        weight_sum += inputs[i] != 0 ? weights[i] : 0;
//end
    }
    sums->drive += drive;
//if sloped
    sums->weight_sum += weight_sum;
//end
}
