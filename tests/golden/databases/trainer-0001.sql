BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE epochs (
	job_id VARCHAR(128) NOT NULL, 
	fence INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	epochs INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	eta_seconds FLOAT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (job_id, fence, epoch)
);
INSERT INTO "epochs" VALUES('job-1',1,1,12,'{"loss": 0.5, "val_accuracy": 0.9}',3.5,1781438400.0);
CREATE TABLE idempotency (
	route VARCHAR(128) NOT NULL, 
	"key" VARCHAR(256) NOT NULL, 
	request_sha256 VARCHAR(64) NOT NULL, 
	status INTEGER NOT NULL, 
	response TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (route, "key")
);
CREATE TABLE inbox (
	handler VARCHAR(64) NOT NULL, 
	id VARCHAR(256) NOT NULL, 
	source VARCHAR(256) NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (handler, id, source)
)
 WITHOUT ROWID

;
CREATE TABLE jobs (
	job_id VARCHAR(128) NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	document TEXT NOT NULL, 
	register_as_version BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	requested_by TEXT NOT NULL, 
	experiment_id VARCHAR(128), 
	trial INTEGER, 
	cycle_id VARCHAR(256), 
	cause TEXT, 
	attempts INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	worker VARCHAR(128), 
	lease_expires_at FLOAT, 
	not_before FLOAT NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	cancel_reason TEXT NOT NULL, 
	submitted_at FLOAT NOT NULL, 
	started_at FLOAT, 
	ended_at FLOAT, 
	error VARCHAR(64), 
	detail TEXT, 
	outcome TEXT, 
	PRIMARY KEY (job_id)
);
INSERT INTO "jobs" VALUES('job-1','threat-classifier','succeeded','{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":"attack","drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.003,"decay":0.001},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}}',1,'golden','',NULL,NULL,'cycle-1',NULL,1,1,'worker-1',NULL,0.0,0,'',1.79539353417403101925e+09,4000000000.0,1.79539353422698736185e+09,NULL,NULL,'{"artifact": "models/threat-classifier/job-1.1", "manifest_digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "content_digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "dataset_digest": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "metrics": {"accuracy": 0.9}, "notes": [], "comparison": null, "best_epoch": 0, "seconds": {}}');
INSERT INTO "jobs" VALUES('job-2','threat-classifier','failed','{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":"attack","drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.003,"decay":0.001},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}}',1,'golden','',NULL,NULL,'cycle-1',NULL,1,1,'worker-1',NULL,0.0,0,'',1.79539353418577957155e+09,4000000000.0,1.7953935342334566116e+09,'invalid-input','datasetConfig.trainPath: /data does not exist',NULL);
INSERT INTO "jobs" VALUES('job-3','threat-classifier','running','{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":"attack","drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.003,"decay":0.001},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":{"path":"artifact:datasets/d.parquet","fraction":0.3,"id_column":"prediction_id","champion_version":"1.0.1","champion_artifact":null,"champion_manifest_digest":null},"description":"","changes":"","tags":{}}',1,'golden','',NULL,NULL,'cycle-1',NULL,1,1,'worker-1',4000000015.0,0.0,0,'',1.79539353418931174272e+09,4000000000.0,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job-4','threat-classifier','running','{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":"attack","drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.003,"decay":0.001},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}}',1,'golden','',NULL,NULL,'cycle-1',NULL,1,1,'worker-1',4000000015.0,0.0,1,'enough',1.79539353419010353093e+09,4000000000.0,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES('job-5','threat-classifier','queued','{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":"attack","drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.003,"decay":0.001},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}}',1,'golden','',NULL,NULL,'cycle-1',NULL,0,0,NULL,NULL,0.0,0,'',1.79539353419090104099e+09,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE leases (
	name VARCHAR(128) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	epoch BIGINT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	seq INTEGER NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	topic VARCHAR(128) NOT NULL, 
	"key" VARCHAR(256) NOT NULL, 
	headers TEXT NOT NULL, 
	body BLOB, 
	at FLOAT NOT NULL, 
	published_at FLOAT, 
	parked TEXT, 
	PRIMARY KEY (seq)
);
INSERT INTO "outbox" VALUES(1,'d7299568-e458-45a7-a466-43c0f8057cd4','training-events','job-1','[["ce_specversion", "1.0"], ["ce_id", "d7299568-e458-45a7-a466-43c0f8057cd4"], ["ce_source", "/trimtab/trainer"], ["ce_type", "trimtab.job.succeeded.v1"], ["ce_time", "2026-11-23T00:25:34.228673Z"], ["ce_subject", "job-1"], ["ce_revision", "1"], ["ce_correlationid", "d7299568-e458-45a7-a466-43c0f8057cd4"], ["content-type", "application/json"]]',X'7B226A6F625F6964223A226A6F622D31222C226D6F64656C5F6964223A227468726561742D636C6173736966696572222C226A6F62223A7B226D6F64656C5F74797065223A227468726561742D636C6173736966696572222C22646174617365745F636F6E666967223A7B22747261696E5F70617468223A222F646174612F747261696E2E637376222C226164646974696F6E616C5F7061746873223A5B5D2C226C6162656C5F636F6C756D6E223A2261747461636B222C2264726F705F636F6C756D6E73223A5B5D2C2276616C69646174696F6E5F6672616374696F6E223A302E322C226175676D656E746174696F6E223A7B22656E61626C6564223A66616C73652C22746563686E6971756573223A5B5D7D7D2C226D6F64656C5F636F6E666967223A7B22617263686974656374757265223A226D6C70222C2264726F706F7574223A302E322C226F7074696D697A6572223A7B2274797065223A226164616D222C226C6561726E696E675F72617465223A302E3030332C226465636179223A302E3030317D2C226C6F7373223A2263617465676F726963616C5F63726F7373656E74726F7079222C226D657472696373223A5B226163637572616379225D7D2C22747261696E696E675F636F6E666967223A7B2265706F636873223A32302C2262617463685F73697A65223A3132382C226561726C795F73746F7070696E67223A7B22656E61626C6564223A747275652C2270617469656E6365223A352C226D6F6E69746F72223A2276616C5F6C6F7373222C226D6F6465223A226175746F227D2C2273656564223A307D2C226465736372697074696F6E223A22222C226368616E676573223A22222C2274616773223A7B7D7D2C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2261616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161222C22636F6E74656E745F646967657374223A2261616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161222C22646174617365745F646967657374223A2261616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161222C226D657472696373223A7B226163637572616379223A302E397D2C2272656769737465725F61735F76657273696F6E223A747275652C226E6F746573223A5B5D2C226379636C655F6964223A226379636C652D31227D',1.79539353423292303083e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(2,'a1d27992-3320-4591-aebb-81ff27ca7869','training-events','job-2','[["ce_specversion", "1.0"], ["ce_id", "a1d27992-3320-4591-aebb-81ff27ca7869"], ["ce_source", "/trimtab/trainer"], ["ce_type", "trimtab.job.failed.v1"], ["ce_time", "2026-11-23T00:25:34.235515Z"], ["ce_subject", "job-2"], ["ce_revision", "1"], ["ce_correlationid", "a1d27992-3320-4591-aebb-81ff27ca7869"], ["content-type", "application/json"]]',X'7B226A6F625F6964223A226A6F622D32222C226D6F64656C5F6964223A227468726561742D636C6173736966696572222C226572726F72223A22696E76616C69642D696E707574222C2264657461696C223A2264617461736574436F6E6669672E747261696E506174683A202F6461746120646F6573206E6F74206578697374222C226379636C655F6964223A226379636C652D31227D',1.79539353423574948309e+09,NULL,NULL);
CREATE TABLE passed_revisions (
	handler VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (handler, entity)
)
 WITHOUT ROWID

;
CREATE TABLE revisions (
	kind VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (kind, entity)
)
 WITHOUT ROWID

;
INSERT INTO "revisions" VALUES('job','job-1',1);
INSERT INTO "revisions" VALUES('job','job-2',1);
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL AND parked IS NULL;
CREATE INDEX jobs_by_state ON jobs (state, submitted_at);
CREATE INDEX jobs_by_model ON jobs (model_id, submitted_at);
COMMIT;
