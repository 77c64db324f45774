/* Sums are taken without signs, modulo 2^32: those of negative terms, too, are then defined. */
static int64_t signed32(uint32_t sum)
{
    return (int64_t)sum - ((int64_t)(sum >> 31) << 32);
}
