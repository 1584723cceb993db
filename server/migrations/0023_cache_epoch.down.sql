drop sequence stead.cache_epoch;
