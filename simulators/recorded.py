"""A recorded market from the normalised folder of data_ingestion/replay: RecordedMarket(folder, facts=None) implements Market."""
