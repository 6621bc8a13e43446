BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE api_keys (
	key_id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	scopes TEXT NOT NULL, 
	model_prefixes TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	created_by TEXT NOT NULL, 
	revoked_at FLOAT, 
	PRIMARY KEY (key_id), 
	UNIQUE (sha256)
);
INSERT INTO "api_keys" VALUES('key-ad2c737d80b2','ci','bafee38c25c359f5d4989b0694facf18b71289b4439b8427ac6cf06fac86d5c7','["read"]','[]',1.79539142965614199635e+09,'ada',NULL);
CREATE TABLE audit (
	seq BIGINT NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	entity TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	previous_sha256 VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,1.79539142961268711083e+09,'trainer','model.registered','threat-classifier:1.1.20261122','{"manifest_digest": "08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}','0000000000000000000000000000000000000000000000000000000000000000','04090fe660997b9f456dc8c2ec16c7d378f4f30fa57e65d314189f9c529d076f');
INSERT INTO "audit" VALUES(2,1.79539142962676596644e+09,'ada','model.staging','threat-classifier:1.1.20261122','{"comment": "looks good", "from_stage": "draft"}','04090fe660997b9f456dc8c2ec16c7d378f4f30fa57e65d314189f9c529d076f','b314ae2258a4044775de3f843a281689126b2fca70b9a372acfe3297572effdc');
INSERT INTO "audit" VALUES(3,1.7953914296337080002e+09,'trainer','model.registered','threat-classifier:1.2.20261122','{"manifest_digest": "35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}','b314ae2258a4044775de3f843a281689126b2fca70b9a372acfe3297572effdc','c1371a1541e3df710ee9705447cbc5513a71da07ddb11a02ec46218ecc67f126');
INSERT INTO "audit" VALUES(4,1.79539142963522911069e+09,'ada','model.staging','threat-classifier:1.2.20261122','{"comment": "looks good", "from_stage": "draft"}','c1371a1541e3df710ee9705447cbc5513a71da07ddb11a02ec46218ecc67f126','a1abaf1d4824a653bc39425d1bb27ee75122770ab6ce1ddaabddf25ce636b905');
INSERT INTO "audit" VALUES(5,1.79539142964134097093e+09,'ada','model.production','threat-classifier:1.1.20261122','{"comment": "", "from_stage": "staging"}','a1abaf1d4824a653bc39425d1bb27ee75122770ab6ce1ddaabddf25ce636b905','a8cee9be6d25253b1902bc755977310c3d301970f31d910e9c8943a86582af8e');
INSERT INTO "audit" VALUES(6,1.79539142964566707607e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 1, "routes": {"1.1.20261122": 100.0}}','a8cee9be6d25253b1902bc755977310c3d301970f31d910e9c8943a86582af8e','a2c6335d5bb9e43853f171d923c30feeb02b90d962f21344eedaf77a82ca7be6');
INSERT INTO "audit" VALUES(7,1.79539142964770293236e+09,'ada','deployment.wanted','threat-classifier','{"reason": "", "revision": 2, "routes": {"1.1.20261122": 90.0, "1.2.20261122": 10.0}}','a2c6335d5bb9e43853f171d923c30feeb02b90d962f21344eedaf77a82ca7be6','b0356553758dc2c898ed76e80446c4c860cc0264b1405b661fb1671a431750ac');
INSERT INTO "audit" VALUES(8,1.79539142965379095078e+09,'ada','model.production','threat-classifier:1.2.20261122','{"comment": "better", "from_stage": "staging"}','b0356553758dc2c898ed76e80446c4c860cc0264b1405b661fb1671a431750ac','9873f3ddf0c43abb3ce4fdbe1ebe5c22593f11bac48879a49fd11207d3787537');
INSERT INTO "audit" VALUES(9,1.79539142965567708018e+09,'ada','deployment.wanted','threat-classifier','{"reason": "version 1.2.20261122 was promoted to production", "revision": 3, "routes": {"1.2.20261122": 100.0}}','9873f3ddf0c43abb3ce4fdbe1ebe5c22593f11bac48879a49fd11207d3787537','f42888c72619904973de0caebe7fcd37979e8266ceae6a52f99b40b139045fab');
INSERT INTO "audit" VALUES(10,1.79539142965720200533e+09,'ada','key.granted','key-ad2c737d80b2','{"name": "ci", "scopes": ["read"]}','f42888c72619904973de0caebe7fcd37979e8266ceae6a52f99b40b139045fab','53278af4a0e6fb7365fe65f67430e97684e5a74622bb28ddcff0dfbb7884f87f');
CREATE TABLE deployments (
	model_id VARCHAR(128) NOT NULL, 
	revision BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	restores BIGINT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (model_id, revision), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "deployments" VALUES('threat-classifier',1,'{"model_id":"threat-classifier","revision":1,"routes":[{"name":"stable","version":"1.1.20261122","weight":100.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-22T23:50:29.644592Z"}',NULL,1.79539142964459204668e+09);
INSERT INTO "deployments" VALUES('threat-classifier',2,'{"model_id":"threat-classifier","revision":2,"routes":[{"name":"stable","version":"1.1.20261122","weight":90.0,"artifact":"models/threat-classifier/job-1.1","manifest_digest":"08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c"},{"name":"canary","version":"1.2.20261122","weight":10.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"","since":"2026-11-22T23:50:29.647194Z"}',NULL,1.79539142964719390868e+09);
INSERT INTO "deployments" VALUES('threat-classifier',3,'{"model_id":"threat-classifier","revision":3,"routes":[{"name":"stable","version":"1.2.20261122","weight":100.0,"artifact":"models/threat-classifier/job-2.1","manifest_digest":"35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed"}],"shadow":null,"fallback":null,"sticky_key":null,"actor":"ada","reason":"version 1.2.20261122 was promoted to production","since":"2026-11-22T23:50:29.655197Z"}',NULL,1.79539142965519690512e+09);
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
CREATE TABLE leases (
	name VARCHAR(128) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	epoch BIGINT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE models (
	id VARCHAR(128) NOT NULL, 
	name TEXT NOT NULL, 
	model_type VARCHAR(128) NOT NULL, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "models" VALUES('threat-classifier','','threat-classifier',1.7953914296061749458e+09);
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
INSERT INTO "outbox" VALUES(1,'bc7652d6-9cf8-453d-9e9d-2cf6b310abf0','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "bc7652d6-9cf8-453d-9e9d-2cf6b310abf0"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-22T23:50:29.617947Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "bc7652d6-9cf8-453d-9e9d-2cf6b310abf0"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663222C22636F6E74656E745F646967657374223A2236653031633436393339323962636131316566373835326461396235323631326166643636323231303161646137323233666437303338326230383035656639222C226D657472696373223A7B2276616C5F6163637572616379223A302E39317D2C226A6F625F6964223A226A6F622D31227D',1.79539142961812829969e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(2,'d6201e8c-e378-422b-859e-0684757d5cb8','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "d6201e8c-e378-422b-859e-0684757d5cb8"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-22T23:50:29.627126Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "d6201e8c-e378-422b-859e-0684757d5cb8"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79539142962726378438e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(3,'524278eb-96b4-456d-aa90-a1bdcd4b9dd1','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "524278eb-96b4-456d-aa90-a1bdcd4b9dd1"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.registered.v1"], ["ce_time", "2026-11-22T23:50:29.634003Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "524278eb-96b4-456d-aa90-a1bdcd4b9dd1"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564222C22636F6E74656E745F646967657374223A2231613537356666386336623361363531373331616338633462613363306361626161633831623031663035616563653761346435326230626539373734653161222C226D657472696373223A7B2276616C5F6163637572616379223A302E39327D2C226A6F625F6964223A226A6F622D32227D',1.79539142963409137721e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(4,'04e6b5e6-17fd-4ea3-a200-56a53f9bc372','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "04e6b5e6-17fd-4ea3-a200-56a53f9bc372"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-22T23:50:29.635428Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "4"], ["ce_correlationid", "04e6b5e6-17fd-4ea3-a200-56a53f9bc372"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A226472616674222C22746F5F7374616765223A2273746167696E67222C226163746F72223A22616461222C22636F6D6D656E74223A226C6F6F6B7320676F6F64227D',1.79539142963546895985e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(5,'7a8757e6-8d8f-4e4d-8474-545da738567c','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "7a8757e6-8d8f-4e4d-8474-545da738567c"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-22T23:50:29.641670Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "5"], ["ce_correlationid", "7a8757e6-8d8f-4e4d-8474-545da738567c"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E312E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22227D',1.79539142964175462728e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(6,'bbf16ad3-c048-4bee-9a71-61c1d349f270','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "bbf16ad3-c048-4bee-9a71-61c1d349f270"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-22T23:50:29.645940Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "1"], ["ce_correlationid", "bbf16ad3-c048-4bee-9a71-61c1d349f270"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A312C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32325432333A35303A32392E3634343539325A227D',1.79539142964601731297e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(7,'b5a14f14-ef9d-4d2d-b3df-32ad390767b2','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "b5a14f14-ef9d-4d2d-b3df-32ad390767b2"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-22T23:50:29.647907Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "2"], ["ce_correlationid", "b5a14f14-ef9d-4d2d-b3df-32ad390767b2"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A322C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E312E3230323631313232222C22776569676874223A39302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D312E31222C226D616E69666573745F646967657374223A2230386632343866346532336233393965663236336662396535666265373337333939653837363931623031376134653338323830333763613137616235373663227D2C7B226E616D65223A2263616E617279222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A31302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A22222C2273696E6365223A22323032362D31312D32325432333A35303A32392E3634373139345A227D',1.79539142964795923234e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(8,'e9f0c843-41e8-46b8-96d9-fc73b4537f91','model-events','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "e9f0c843-41e8-46b8-96d9-fc73b4537f91"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.model.promoted.v1"], ["ce_time", "2026-11-22T23:50:29.654105Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "6"], ["ce_correlationid", "e9f0c843-41e8-46b8-96d9-fc73b4537f91"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C2276657273696F6E223A22312E322E3230323631313232222C2266726F6D5F7374616765223A2273746167696E67222C22746F5F7374616765223A2270726F64756374696F6E222C226163746F72223A22616461222C22636F6D6D656E74223A22626574746572222C227265706C616365645F76657273696F6E223A22312E312E3230323631313232227D',1.7953914296541867256e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(9,'aa2e41d2-e453-4a17-bfd7-fb381a490674','deployments','threat-classifier','[["ce_specversion", "1.0"], ["ce_id", "aa2e41d2-e453-4a17-bfd7-fb381a490674"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.deployment.wanted.v1"], ["ce_time", "2026-11-22T23:50:29.655992Z"], ["ce_subject", "threat-classifier"], ["ce_revision", "3"], ["ce_correlationid", "aa2e41d2-e453-4a17-bfd7-fb381a490674"], ["content-type", "application/json"]]',X'7B226D6F64656C5F6964223A227468726561742D636C6173736966696572222C227265766973696F6E223A332C22726F75746573223A5B7B226E616D65223A22737461626C65222C2276657273696F6E223A22312E322E3230323631313232222C22776569676874223A3130302E302C226172746966616374223A226D6F64656C732F7468726561742D636C61737369666965722F6A6F622D322E31222C226D616E69666573745F646967657374223A2233356532656639353431663365623231353438653963303332323230353464613534643564313766393631313431613163303364306365643866356536346564227D5D2C226163746F72223A22616461222C22726561736F6E223A2276657273696F6E20312E322E3230323631313232207761732070726F6D6F74656420746F2070726F64756374696F6E222C2273696E6365223A22323032362D31312D32325432333A35303A32392E3635353139375A227D',1.79539142965604519848e+09,NULL,NULL);
INSERT INTO "outbox" VALUES(10,'0f46be10-1324-46c3-a060-f2753a0dcdcb','access','key-ad2c737d80b2','[["ce_specversion", "1.0"], ["ce_id", "0f46be10-1324-46c3-a060-f2753a0dcdcb"], ["ce_source", "/trimtab/registry"], ["ce_type", "trimtab.access.granted.v1"], ["ce_time", "2026-11-22T23:50:29.657760Z"], ["ce_subject", "key-ad2c737d80b2"], ["ce_revision", "1"], ["ce_correlationid", "0f46be10-1324-46c3-a060-f2753a0dcdcb"], ["content-type", "application/json"]]',X'7B226B65795F6964223A226B65792D616432633733376438306232222C226E616D65223A226369222C22736861323536223A2262616665653338633235633335396635643439383962303639346661636631386237313238396234343339623834323761633663663036666163383664356337222C2273636F706573223A5B2272656164225D2C226D6F64656C5F7072656669786573223A5B5D7D',1.79539142965781474111e+09,NULL,NULL);
CREATE TABLE passed_revisions (
	handler VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (handler, entity)
)
 WITHOUT ROWID

;
CREATE TABLE registrations (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	job_id VARCHAR(128) NOT NULL, 
	artifact TEXT NOT NULL, 
	manifest_digest VARCHAR(64) NOT NULL, 
	message TEXT NOT NULL, 
	envelope TEXT, 
	state VARCHAR(16) NOT NULL, 
	tries INTEGER NOT NULL, 
	next_try_at FLOAT NOT NULL, 
	version VARCHAR(32), 
	error TEXT, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (seq), 
	CONSTRAINT registrations_artifact UNIQUE (artifact, manifest_digest)
);
INSERT INTO "registrations" VALUES(1,'threat-classifier','job-3','models/threat-classifier/job-3.1','737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2','{"job_id":"job-3","model_id":"threat-classifier","job":{"model_type":"threat-classifier","model_id":null,"model_name":null,"dataset_config":{"train_path":"/data/train.csv","validation_path":null,"test_path":null,"additional_paths":[],"label_column":null,"drop_columns":[],"label_map":null,"validation_fraction":0.2,"augmentation":{"enabled":false,"techniques":[]}},"model_config":{"architecture":"mlp","layers":null,"dropout":0.2,"optimizer":{"type":"adam","learning_rate":0.001,"decay":0.0},"loss":"categorical_crossentropy","metrics":["accuracy"]},"training_config":{"epochs":20,"batch_size":128,"early_stopping":{"enabled":true,"patience":5,"monitor":"val_loss","mode":"auto"},"seed":0},"holdout":null,"description":"","changes":"","tags":{}},"artifact":"models/threat-classifier/job-3.1","manifest_digest":"737efaf131be39b4644ca122da20440cb172ccc084559bbcd657cfc072d0daa2","content_digest":"4f573e2f033f11524e2c4c5315d31b12c52bf216eec319a15c0238429b064a4b","dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","metrics":{},"register_as_version":true,"notes":[],"comparison":null,"experiment_id":null,"trial":null,"cycle_id":null}',NULL,'pending',0,1.79539142965814495084e+09,NULL,NULL,1.79539142965814495084e+09);
CREATE TABLE revisions (
	kind VARCHAR(64) NOT NULL, 
	entity VARCHAR(256) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (kind, entity)
)
 WITHOUT ROWID

;
INSERT INTO "revisions" VALUES('audit','',10);
INSERT INTO "revisions" VALUES('deployment','threat-classifier',3);
INSERT INTO "revisions" VALUES('key','key-ad2c737d80b2',1);
INSERT INTO "revisions" VALUES('model','threat-classifier',6);
CREATE TABLE stage_moves (
	seq INTEGER NOT NULL, 
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	from_stage VARCHAR(16), 
	to_stage VARCHAR(16) NOT NULL, 
	at FLOAT NOT NULL, 
	actor TEXT NOT NULL, 
	comment TEXT NOT NULL, 
	replaced_version VARCHAR(32), 
	PRIMARY KEY (seq)
);
INSERT INTO "stage_moves" VALUES(1,'threat-classifier','1.1.20261122',NULL,'draft',1.7953914296061749458e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(2,'threat-classifier','1.1.20261122','draft','staging',1.79539142962057089803e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(3,'threat-classifier','1.2.20261122',NULL,'draft',1.79539142962782192233e+09,'trainer','registered',NULL);
INSERT INTO "stage_moves" VALUES(4,'threat-classifier','1.2.20261122','draft','staging',1.79539142963464903833e+09,'ada','looks good',NULL);
INSERT INTO "stage_moves" VALUES(5,'threat-classifier','1.1.20261122','staging','production',1.79539142963610696794e+09,'ada','',NULL);
INSERT INTO "stage_moves" VALUES(6,'threat-classifier','1.1.20261122','production','archived',1.79539142964857792849e+09,'ada','replaced by 1.2.20261122',NULL);
INSERT INTO "stage_moves" VALUES(7,'threat-classifier','1.2.20261122','staging','production',1.79539142965307593345e+09,'ada','better','1.1.20261122');
CREATE TABLE versions (
	model_id VARCHAR(128) NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	major INTEGER NOT NULL, 
	minor INTEGER NOT NULL, 
	patch INTEGER NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	stage_since FLOAT NOT NULL, 
	artifact TEXT NOT NULL, 
	manifest TEXT NOT NULL, 
	manifest_digest VARCHAR(64) NOT NULL, 
	content_digest VARCHAR(64) NOT NULL, 
	record_digest VARCHAR(64) NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	parent_version VARCHAR(32), 
	registered_at FLOAT NOT NULL, 
	registered_by TEXT NOT NULL, 
	PRIMARY KEY (model_id, version), 
	CONSTRAINT versions_record UNIQUE (model_id, record_digest), 
	FOREIGN KEY(model_id) REFERENCES models (id)
);
INSERT INTO "versions" VALUES('threat-classifier','1.1.20261122',1,1,20261122,'archived',1.79539142964857792849e+09,'models/threat-classifier/job-1.1','{"changes":"","content_digest":"6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000001","size":1001}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-1","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.91},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','08f248f4e23b399ef263fb9e5fbe737399e87691b017a4e3828037ca17ab576c','6e01c4693929bca11ef7852da9b52612afd6622101ada7223fd70382b0805ef9','b6d2b32212ac64608cb4c36b1e8cbc3a58ab28fbc4334c49b81c2cc3c59f50f7',1001,NULL,1.7953914296061749458e+09,'trainer');
INSERT INTO "versions" VALUES('threat-classifier','1.2.20261122',1,2,20261122,'production',1.79539142965307593345e+09,'models/threat-classifier/job-2.1','{"changes":"","content_digest":"1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a","created_at":"2026-06-14T12:00:00Z","description":"","files":[{"is_model":true,"path":"model.onnx","sha256":"0000000000000000000000000000000000000000000000000000000000000002","size":1002}],"framework":"keras","hyperparameters":{"learning_rate":0.001},"lineage":{"cycle_id":null,"dataset_digest":"dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd","experiment_id":null,"job_id":"job-2","parent_version":null,"trial":null},"metrics":{"val_accuracy":0.92},"model_id":"threat-classifier","model_name":"","model_type":"threat-classifier","signature":{"classes":["normal","attack"],"inputs":[{"categories":null,"dtype":"float32","filler":null,"maximum":null,"minimum":null,"name":"duration","nullable":false,"shape":[]},{"categories":null,"dtype":"string","filler":null,"maximum":null,"minimum":null,"name":"protocol","nullable":false,"shape":[]}],"outputs":[{"dtype":"float32","name":"probabilities","role":"probabilities","shape":[2]}]},"tags":{}}','35e2ef9541f3eb21548e9c03222054da54d5d17f961141a1c03d0ced8f5e64ed','1a575ff8c6b3a651731ac8c4ba3c0cabaac81b01f05aece7a4d52b0be9774e1a','82bf4ec1443d34ed070ca0846e83876f126c2e54e3e041a38314903ee0143c5b',1002,NULL,1.79539142962782192233e+09,'trainer');
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL AND parked IS NULL;
CREATE UNIQUE INDEX versions_order ON versions (model_id, major, minor, patch);
CREATE INDEX versions_content ON versions (model_id, content_digest);
CREATE INDEX versions_stage ON versions (stage, model_id);
CREATE UNIQUE INDEX versions_one_in_production ON versions (model_id) WHERE stage = 'production';
CREATE INDEX stage_moves_of_model ON stage_moves (model_id, seq);
CREATE INDEX registrations_of_model ON registrations (model_id, seq);
CREATE INDEX registrations_pending ON registrations (next_try_at) WHERE state = 'pending';
COMMIT;
